#!/bin/bash
# Build the vtpmd test guest: a Debian kernel and a small initramfs.
#
#   build.sh [--force] OUTDIR
#
# Result: OUTDIR/vmlinuz, OUTDIR/initramfs.img, OUTDIR/MANIFEST.
# Nothing is installed on the host.  The guest is made only from Debian
# packages fetched with "apt-get download" into OUTDIR/debs (so "apt-get
# update" must have been run once); packages already there are not fetched
# again.  Needs: apt, dpkg-deb, tar, python3.  No root needed.
#
# Overrides (environment):
#   VTPM_GUEST_KERNEL_PKG   kernel package or meta-package [linux-image-amd64]
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
kernel_pkg=${VTPM_GUEST_KERNEL_PKG:-linux-image-amd64}
force=0
[ "${1:-}" = --force ] && { force=1; shift; }
[ $# -eq 1 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
debs=$out/debs
mkdir -p "$debs"

die() { echo "guest image: $*" >&2; exit 1; }
for tool in apt-get apt-cache dpkg-deb dpkg tar python3 sha256sum; do
    command -v "$tool" >/dev/null || die "missing tool: $tool"
done
[ "$(dpkg --print-architecture)" = amd64 ] || die "only amd64 hosts are supported"

# --- packages ---------------------------------------------------------------

# Direct, non-virtual dependencies of the packages given.
depends() {
    apt-cache depends --important "$@" |
        sed -n 's/^ [ |]\(Pre\)\{0,1\}Depends: \([a-z0-9].*\)$/\2/p' | sort -u
}

# A kernel meta-package depends on the real one.
real_kernel=$kernel_pkg
case $kernel_pkg in
    linux-image-[0-9]*) ;;
    *) real_kernel=$(depends "$kernel_pkg" | grep -m1 '^linux-image-[0-9]') ||
        die "$kernel_pkg does not lead to a kernel package (apt-get update?)" ;;
esac

# Userland: tpm2-tools, the device TCTI and, level by level, the library
# packages they depend on.  What no ELF file needs is dropped further down.
userland=" "
level="tpm2-tools libtss2-tcti-device0"
while [ -n "$level" ]; do
    userland="$userland$level "
    next=""
    for dep in $(depends $level | grep -E '^(lib|zlib)'); do
        case $userland in *" $dep "*) ;; *) next="$next $dep" ;; esac
    done
    level=${next# }
done

# Fetch what is missing, all at once, and name each package's file.
packages="$real_kernel busybox-static $userland"
versions=$(apt-cache policy $packages | awk '/^[^ ]/ { sub(/:$/, ""); p = $0 }
    /^  Candidate:/ { print p, $2 }')
missing=()
kernel_deb="" busybox_deb=""
user_debs=()
while read -r pkg ver; do
    [ "$ver" != "(none)" ] || die "no candidate for package $pkg (apt-get update?)"
    file=$(echo "$debs/${pkg}_${ver//:/%3a}"_*.deb)
    if [ ! -f "$file" ]; then
        rm -f "$debs/${pkg}"_*.deb                # other versions
        missing+=("$pkg=$ver")
        file=$debs/${pkg}_${ver//:/%3a}_amd64.deb
    fi
    case $pkg in
        "$real_kernel") kernel_deb=$file ;;
        busybox-static) busybox_deb=$file ;;
        *) user_debs+=("$file") ;;
    esac
done <<<"$versions"
if [ ${#missing[@]} -gt 0 ]; then
    (cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download "${missing[@]}" >/dev/null) ||
        die "cannot download: ${missing[*]}"
fi
for file in "$kernel_deb" "$busybox_deb" "${user_debs[@]}"; do
    [ -f "$file" ] || die "not fetched: $file"
done

# --- up to date? --------------------------------------------------------------

stamp=$( { for f in "$kernel_deb" "$busybox_deb" "${user_debs[@]}"; do basename "$f"; done
           cat "$here"/*.sh "$here/initramfs.py"; } | sha256sum | cut -c1-64)
if [ $force = 0 ] && [ -s "$out/vmlinuz" ] && [ -s "$out/initramfs.img" ] &&
   grep -qx "inputs $stamp" "$out/MANIFEST" 2>/dev/null; then
    echo "guest image: $out is up to date"
    exit 0
fi

# --- staging --------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/vtpm-guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/sysroot
mkdir -p "$root"

dpkg-deb --fsys-tarfile "$kernel_deb" | tar -x -C "$work" --wildcards \
    './boot/vmlinuz-*' './boot/config-*' '*/efivarfs.ko*' '*/modules.builtin'
dpkg-deb -x "$busybox_deb" "$work/busybox"
for deb in "${user_debs[@]}"; do dpkg-deb -x "$deb" "$root"; done

vmlinuz=$(echo "$work"/boot/vmlinuz-*)
[ -f "$vmlinuz" ] || die "no single kernel in $kernel_deb"
for mod in tpm tpm_tis tpm_crb; do
    grep -q "/$mod\.ko" "$work"/lib/modules/*/modules.builtin ||
        die "kernel has no built-in $mod driver"
done

python3 "$here/initramfs.py" "$work" "$work/initramfs.cpio"

if command -v zstd >/dev/null; then
    zstd -q -f -10 -T1 -o "$work/initramfs.img" "$work/initramfs.cpio"
else
    gzip -9 -n < "$work/initramfs.cpio" > "$work/initramfs.img"
fi

mv -f "$vmlinuz" "$out/vmlinuz.new" && mv -f "$out/vmlinuz.new" "$out/vmlinuz"
mv -f "$work/initramfs.img" "$out/initramfs.new" && mv -f "$out/initramfs.new" "$out/initramfs.img"
chmod 644 "$out/vmlinuz" "$out/initramfs.img"
{
    echo "inputs $stamp"
    for f in vmlinuz initramfs.img; do
        echo "$f $(stat -c %s "$out/$f") bytes sha256:$(sha256sum < "$out/$f" | cut -c1-64)"
    done
    for f in "$kernel_deb" "$busybox_deb" "${user_debs[@]}"; do echo "deb $(basename "$f")"; done
} > "$out/MANIFEST"
echo "guest image: wrote $out/vmlinuz and $out/initramfs.img"
