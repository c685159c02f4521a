# Sourced by scripts/package: what a package is put through, on a fresh Debian under a real PID 1.
# shellcheck shell=bash

# What systemd-nspawn keeps from containers and the workers' sandbox is made of.
landlock='landlock_create_ruleset landlock_add_rule landlock_restrict_self'

# test_deb SUITE [BEFORE NOW]: with two packages that are there already, or this commit's and that of the one before.
test_deb() {
    local suite=$1 before=${2:-} now=${3:-} fresh here=$out/test
    [ "$(id -u)" = 0 ] || die "only root can start a Debian of its own"
    need_packages "${guest_packages[@]}" systemd-container
    need_package_lists
    need_venv test
    tests/guest/image/build.sh build/guest

    [ "$now" ] || now=$(deb "$suite")
    [ "$before" ] || before=$(deb_before "$suite")
    ! command -v lintian >/dev/null || step "lintian knows no error" lintian --fail-on error "$now"
    fresh=$(fresh_root "$suite")
    rm -rf "$here"
    mkdir -p "$here"
    cp -a "$fresh" "$here/root"
    install -m 0644 "$before" "$here/root/var/before.deb"
    install -m 0644 "$now" "$here/root/var/now.deb"
    boot "$here"
    trap 'power_off' EXIT

    step "the package of one commit before is installed" install_package /var/before.deb
    step "the first TPM, by the steps that the package has named" first_tpm
    step "doctor finds nothing bad" doctor
    step "a guest boots with it, and top shows it" boot_guest "$here"
    step "the audit log is rotated" rotate
    hold "$here"
    step "this commit's package, while a machine uses its TPM" upgrade_package
    step "removal, while a machine uses its TPM" remove_package
    release "$here"
    step "purge keeps keyring and states" purge_package
    step "installed again, the TPM is there" install_again
    step "nothing in the journal is an error" quiet_journal
    finish
}

# test_image [PACKAGE.deb]: the image's daemon serves a guest that is outside.
test_image() {
    local archive here=$out/test-image
    [ "$(id -u)" = 0 ] || die "only root can start a container of its own"
    need_packages "${guest_packages[@]}" systemd-container
    need_package_lists
    need_venv test
    tests/guest/image/build.sh build/guest

    archive=$(image "$1")
    rm -rf "$here"
    mkdir -p "$here/layout"
    tar -x -C "$here/layout" -f "$archive"
    umoci unpack --image "$here/layout:latest" "$here/bundle"
    install -d -o "$(stat -c %u "$here/bundle/rootfs/var/lib/vtpmd")" "$here/run"
    "${nspawn[@]}" --directory="$here/bundle/rootfs" --private-network --user=vtpmd \
        --bind="$here/run:/run/vtpmd" --system-call-filter="$landlock" /usr/bin/vtpmd \
        </dev/null >"$here/vtpmd.log" 2>&1 &
    container=$!
    trap 'kill "$container"' EXIT
    for _ in $(seq 150); do
        [ ! -S "$here/run/admin.sock" ] || break
        kill -0 "$container" 2>/dev/null || break
        sleep 0.2
    done
    leader=$(pgrep -P "$container") || die "the image does not start: see $here/vtpmd.log"
    step "the first TPM" first_tpm
    step "a guest boots with it, and top shows it" boot_guest "$here"
    finish
}

# deb_before SUITE: the package of the commit before this one.
deb_before() {
    local tree=$out/before package
    git worktree remove --force "$tree" 2>/dev/null || true
    git worktree add -q --detach "$tree" HEAD^ >&2
    package=$(deb "$1" "$tree")
    git worktree remove --force "$tree"
    echo "$package"
}

# boot DIRECTORY: starts the Debian in DIRECTORY/root; `leader` is its PID 1 as we see it.
boot() {
    systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$1/root" \
        --resolv-conf=copy-host --system-call-filter="$landlock" </dev/null >"$1/console.log" 2>&1 &
    container=$!
    for _ in $(seq 100); do
        leader=$(pgrep -P "$container" || true)
        [ -z "$leader" ] || [ "$(cat "/proc/$leader/comm")" != systemd ] ||
            ! inside systemctl is-active -q multi-user.target 2>/dev/null || return 0
        kill -0 "$container" 2>/dev/null || break
        sleep 0.2
    done
    die "the container does not start: see $1/console.log"
}

power_off() {
    [ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true
    [ ! -e "/proc/$leader" ] || kill -s RTMIN+4 "$leader"
    wait "$container" || true
}

inside() {
    nsenter --target "$leader" --all --wd=/ -- env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

show() {
    echo "\$ $*"
    inside "$@"
}

demand() {
    show "$@" || die "failed: $*"
}

apt() {
    inside apt-get -q -y -o APT::Get::Allow-Downgrades=no "$@" </dev/null
}

install_package() {
    apt update >/dev/null && apt install --no-install-recommends "$1" &&
        demand systemctl is-active vtpmd
}

first_tpm() {
    show vtpmctl create web1 && return 1 # not before the keyring is saved
    echo "a passphrase for this test" | inside sh -c 'exec 3<&0; vtpmctl provider backup local /root/keyring.backup --passphrase-fd 3' &&
        demand vtpmctl create web1 && show vtpmctl list
}

# Warnings are of what a fresh Debian lacks: QEMU and its firmware, which are ours here.
doctor() {
    show vtpmctl doctor || [ $? != 32 ]
}

socket_of() {
    echo "/proc/$leader/root/run/vtpmd/$1.sock.ctrl"
}

boot_guest() {
    local top
    inside vtpmctl top --interval 5 >"$1/top.log" 2>&1 &
    top=$!
    "$venv/bin/python" -m tests.guest --guest build/guest --tpm-socket "$(socket_of web1)" \
        --log "$1/serial.log" || return 1
    kill "$top" 2>/dev/null || true
    grep -q '^web1  *running' "$1/top.log" && grep -m 1 -B 1 '^web1' "$1/top.log"
}

rotate() {
    local log=/var/log/vtpmd/audit.log
    apt install --no-install-recommends logrotate &&
        inside setpriv --reuid=vtpmd --regid=vtpmd --clear-groups sh -c "echo line >$log" &&
        inside logrotate --force /etc/logrotate.d/vtpmd && inside zcat "$log.1.gz" &&
        inside test ! -e "$log"
}

hold() {
    inside vtpmctl create web2 >/dev/null
    "$venv/bin/python" -m tests.packaging.hold "$(socket_of web2)" >"$1/hold.log" 2>&1 &
    holder=$!
}

upgrade_package() {
    local before
    before=$(inside dpkg-query -W -f '${Version}' vtpmd)
    apt install /var/now.deb && demand systemctl is-active vtpmd &&
        inside dpkg --compare-versions "$before" lt "$(inside dpkg-query -W -f '${Version}' vtpmd)" &&
        demand vtpmctl upgrade --all && kill -0 "$holder" && show vtpmctl list
}

remove_package() {
    apt remove vtpmd && kill -0 "$holder" && ! inside systemctl is-active vtpmd &&
        inside test ! -e /usr/bin/vtpmctl -a -e /etc/vtpmd/vtpmd.yaml
}

release() {
    kill "$holder" || true
    wait "$holder" || failed+=("the machine that used its TPM all the while")
    cat "$1/hold.log"
}

purge_package() {
    apt purge vtpmd && inside test ! -e /etc/vtpmd/vtpmd.yaml -a -s /var/lib/vtpmd/keyring &&
        inside sh -c 'ls -R /var/lib/vtpmd/instances/*/tpm/nvram'
}

install_again() {
    install_package /var/now.deb && show vtpmctl list && demand vtpmctl pcr web1 &&
        demand vtpmctl ek show web1
}

# The first start says, at that priority, that no TPM is made before the keyring is saved.
quiet_journal() {
    ! inside journalctl -q --no-pager -u vtpmd -p err | grep -v 'has not been saved yet'
}
