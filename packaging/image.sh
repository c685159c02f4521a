# Sourced by scripts/package: an OCI image, made without a daemon.
# shellcheck shell=bash

image_packages=(mmdebstrap umoci)

# image [PACKAGE.deb]: the path of an archive that podman, skopeo and others load.
image() {
    local package=${1:-} work version archive
    need_packages "${image_packages[@]}" >&2
    [ "$package" ] || package=$(deb bookworm)
    version=$(dpkg-deb -f "$package" Version)
    archive=$out/vtpmd-$(tr '~+' '--' <<<"$version").oci.tar
    work=$(mktemp -d "$out/image.XXXXXX")
    echo "== an image of vtpmd $version" >&2
    # Whoever is in the image is made by the package; nothing is there that starts it.
    mmdebstrap --quiet --variant=minbase --include=systemd-standalone-sysusers \
        --skip=cleanup/run \
        --customize-hook="copy-in '$package' /var/tmp" \
        --customize-hook='chroot "$1" sh -c "apt-get -q -y install --no-install-recommends /var/tmp/*.deb && rm /var/tmp/*.deb"' \
        --customize-hook='chroot "$1" install -d -o vtpmd -g vtpmd /run/vtpmd' \
        --customize-hook='chroot "$1" install -d -o vtpmd -g vtpmd -m 0700 /var/lib/vtpmd' \
        --customize-hook='rm -rf "$1"/var/log/apt "$1"/var/log/dpkg.log "$1"/var/cache/apt/*' \
        bookworm "$work/root.tar" "$mirror" </dev/null >"$out/image.log" 2>&1 ||
        die "the image's root could not be made: see $out/image.log"
    umoci init --layout "$work/layout"
    umoci new --image "$work/layout:latest"
    umoci raw add-layer --image "$work/layout:latest" "$work/root.tar"
    umoci config --image "$work/layout:latest" --config.user vtpmd --config.entrypoint /usr/bin/vtpmd \
        --config.volume /var/lib/vtpmd --config.volume /run/vtpmd --config.volume /etc/vtpmd \
        --config.stopsignal SIGTERM \
        --config.label "org.opencontainers.image.title=vtpmd" \
        --config.label "org.opencontainers.image.description=A TPM 2.0 of its own for each QEMU/KVM machine" \
        --config.label "org.opencontainers.image.licenses=Apache-2.0" \
        --config.label "org.opencontainers.image.version=$version"
    umoci gc --layout "$work/layout"
    tar -c --owner=0 --group=0 --sort=name -C "$work/layout" -f "$archive" .
    rm -rf "$work"
    echo "$archive"
}
