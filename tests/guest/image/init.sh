#!/bin/sh
# /init of the vtpmd test guest. Runs one scenario against the guest's TPM and tells
# on the serial console what it saw (see report.sh).
#
# Kernel command line: vtpm.test=SCENARIO (default smoke), vtpm.end=poweroff|
# reboot|halt (default poweroff).
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
export LD_LIBRARY_PATH=/lib/x86_64-linux-gnu

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
mount -t securityfs securityfs /sys/kernel/security
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr 2>/dev/null
dmesg -n 1
for m in /lib/modules/*.ko; do [ -e "$m" ] && insmod "$m"; done
[ -d /sys/firmware/efi/efivars ] && mount -t efivarfs efivarfs /sys/firmware/efi/efivars

scenario=smoke end=poweroff
for word in $(cat /proc/cmdline); do
    case $word in
        vtpm.test=*) scenario=${word#vtpm.test=} ;;
        vtpm.end=*) end=${word#vtpm.end=} ;;
    esac
done
cd /tmp
RAW=device:/dev/tpm0          # no resource manager: handles stay in the TPM
RM=device:/dev/tpmrm0         # the kernel's resource manager
export TPM2TOOLS_TCTI=$RM
SRK=0x81000001
NVDATA=0x01500020             # what must survive a reset

for part in report boot functions attest windows volatile post_quantum scenarios; do . /lib/guest/$part.sh; done

say "start $scenario $(uname -r)"
if detect; then
    report_pcrs boot
    [ "$scenario" = shell ] || eventlog
    case $scenario in
    smoke) random ;;
    full)
        properties; ek_certificates; random; keys; attestation; seal; nv; persistent
        report_clock end; clear_tpm ;;
    attest) attest ;;          # the host starts the machine anew, with another kernel, too
    windows) properties; ek_certificates; windows ;;
    reset | crash)              # the host resets the machine, or kills it
        if persist_boot; then
            wait_host "$scenario"
            sleep 60
        fi ;;
    coldboot) persist_boot ;;   # the host starts the machine anew
    reboot) persist_boot && end=reboot ;;
    worker-crash) worker_crash ;;
    suspend) suspend; random ;;
    post-quantum) post_quantum; random ;;
    migrate | migrate-file | migrate-resume | snapshot) moved "$scenario"; random ;;
    busy) busy ;;
    ppi) physical_presence ;;
    shell)
        say "wait shell"
        PS1='# ' sh -i ;;
    *) fail scenario "unknown scenario $scenario" ;;
    esac
fi

# The kernel's own complaints: a command that took longer than its driver allows
# (0.75 s for PCR_Extend, 2 s for GetRandom and SelfTest), malformed responses.
dmesg | grep -iE '(tpm|ima).*(timed out|error|fail|invalid|bug)' >/tmp/complaints
if [ -s /tmp/complaints ]; then fail kernel-log "$(head -n 3 /tmp/complaints | tr '\n' ' ')"
else pass kernel-log; fi
say "done $passes $fails $end"
sync
case $end in
    poweroff) poweroff -f ;;
    reboot) reboot -f ;;
esac
while :; do sleep 3600; done
