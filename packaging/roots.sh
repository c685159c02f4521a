# Sourced by scripts/package: fresh roots of Debian's releases, and what runs in them.
# shellcheck shell=bash

mirror=${VTPMD_DEBIAN_MIRROR:-http://deb.debian.org/debian}
roots=$out/roots
# A container of its own needs neither a manager of machines nor a unit.
nspawn=(systemd-nspawn --quiet --register=no --keep-unit --as-pid2)

# fresh_root SUITE: the path of a Debian of this suite that has only just been installed.
fresh_root() {
    local base=$roots/$1
    if [ ! -e "$base/etc/debian_version" ]; then
        [ "$(id -u)" = 0 ] || die "only root can make a root of $1"
        need_packages debootstrap systemd-container
        mkdir -p "$roots"
        rm -rf "$base.new"
        echo "== debootstrap $1" >&2
        debootstrap --variant=minbase --include=systemd-sysv,dbus "$1" "$base.new" "$mirror" \
            </dev/null >"$out/debootstrap.log" 2>&1 || die "no root of $1: see $out/debootstrap.log"
        mv "$base.new" "$base"
    fi
    echo "$base"
}

# building_root SUITE: the same with what a package is built with.
building_root() {
    local base=$roots/$1-build fresh
    fresh=$(fresh_root "$1")
    if [ ! -e "$base" ]; then
        rm -rf "$base.new"
        cp -a "$fresh" "$base.new"
        "${nspawn[@]}" -D "$base.new" sh -c \
            "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends ${build_packages[*]}" \
            </dev/null >"$out/$1-build.log" 2>&1 || die "no root to build in: see $out/$1-build.log"
        mv "$base.new" "$base"
    fi
    echo "$base"
}

# wheels_for ROOT DIRECTORY: what the lock names, for the Python in there, which needs no network then.
wheels_for() {
    local version platforms
    version=$(readlink "$1/usr/bin/python3")
    [ -x "$out/pip/bin/pip" ] || "$(find_python)" -m venv "$out/pip"
    platforms=(any)
    for minor in 17 28 34; do platforms+=("manylinux_2_${minor}_$(uname -m)"); done
    platforms+=("manylinux2014_$(uname -m)")
    "$out/pip/bin/pip" download -q -d "$2" --require-hashes --no-deps --only-binary=:all: \
        --python-version "${version#python}" "${platforms[@]/#/--platform=}" -r "$(lock_of package)" \
        </dev/null || die "not all libraries could be fetched; is there a network?"
}
