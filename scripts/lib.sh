# Sourced by the other scripts: Debian packages and the virtual environment.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Container images set it: then every process of a test compiles anew what it imports, and each
# pytest the tests themselves.
unset PYTHONDONTWRITEBYTECODE
cd "$root"

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# What an instance needs on Debian to be served, and what a guest needs to be booted.
python_packages=(python3 python3-venv)
guest_packages=(qemu-system-x86 ovmf zstd)
test_packages=(
    qemu-utils swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0 libseccomp2 softhsm2 openssl strace
    gcc libc6-dev libtss2-dev python3-dev pkg-config valgrind prometheus
    systemd apparmor man-db mandoc zsh fish
    libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu
)

# What a Debian package of vtpmd is built with.
build_packages=(build-essential debhelper python3-dev python3-venv)

# need_packages PACKAGE...: installs what is missing if root runs this, names it otherwise.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null || die "this is not Debian: install by yourself what corresponds to $*"
    for package in "$@"; do
        # Debian's package of Python is not needed where another Python is in use.
        case $package in
        python3-dev) python_has_headers && continue ;;
        python3*) find_python >/dev/null && continue ;;
        esac
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}
install them with: sudo apt-get install ${missing[*]}"
    echo "== installing ${missing[*]}"
    update_package_lists
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" \
        </dev/null >"$root/build/apt.log" 2>&1 || die "apt-get failed; is there a network? $(tail -n 5 "$root/build/apt.log")"
}

# The guest's image is made of packages that apt must know about.
need_package_lists() {
    apt-cache show busybox-static >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] || die "apt knows no packages: run sudo apt-get update"
    update_package_lists
}

update_package_lists() {
    apt-get update -qq </dev/null >"$root/build/apt.log" 2>&1 ||
        die "apt-get update failed; is there a network? $(tail -n 5 "$root/build/apt.log")"
}

# A Python of 3.11 or later that can make virtual environments; the system's rather than one below
# somebody's home, which the daemon's user could not read.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null && command -v "$candidate" && return
    done
    return 1
}

python_has_headers() {
    "$(find_python)" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

# What scripts/lock has locked: extras of pyproject.toml and the runtime without any ("").
locks=$root/packaging/locks

# lock_of EXTRA: the file that locks it.
lock_of() {
    echo "$locks/${1:-runtime}.txt"
}

# need_venv EXTRA: vtpmd, editable, with its locked dependencies ("", "test" or "fuzz") in .venv.
need_venv() {
    local python lock stamp=$venv/installed-${1:-runtime} wanted
    lock=$(lock_of "$1")
    wanted=$(cat pyproject.toml "$lock" | sha256sum)
    [ -x "$venv/bin/vtpmd" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    python=$(find_python) ||
        die "Python 3.11 or later with venv is missing; on Debian: apt-get install python3 python3-venv"
    echo "== installing vtpmd${1:+[$1]} into .venv"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" ||
        die "no virtual environment can be made in $venv"
    "$venv/bin/python" -m pip install -q --require-hashes --no-deps -r "$lock" </dev/null &&
        "$venv/bin/python" -m pip install -q --no-deps --no-build-isolation -e . </dev/null ||
        die "pip could not install vtpmd${1:+[$1]} into $venv; is there a network?"
    echo "$wanted" >"$stamp"
}

# step NAME COMMAND...: runs it, tells how long it took, remembers a failure in `failed`.
failed=() second_tries=()
step() {
    local name=$1 began=$SECONDS status=0
    shift
    echo "== $name"
    "$@" || status=$?
    [ $status = 0 ] || failed+=("$name")
    last_status=$status
    printf '== %s: %s after %d s\n' "$name" "$([ $status = 0 ] && echo passed || echo FAILED)" \
        $((SECONDS - began))
}

finish() {
    echo "== all together: $SECONDS s"
    [ ${#second_tries[@]} -eq 0 ] ||
        echo "== passed at a second try only, a defect to look into: ${second_tries[*]}"
    [ ${#failed[@]} -eq 0 ] || die "failed: ${failed[*]}"
}

static_checks() {
    step format "$venv/bin/ruff" format --check --quiet .
    step lint "$venv/bin/ruff" check --quiet .
    step types "$venv/bin/mypy"
}

mkdir -p build
