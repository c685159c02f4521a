# What is asked in every boot: the device, the firmware's tables and log, the PCRs.

report_pcrs() {         # report_pcrs TAG
    tpm2 pcrread >/tmp/pcrs 2>/tmp/err || { fail "pcrread-$1" "$(tail -n 1 /tmp/err)"; return; }
    say "pcrs $1"
    awk '/^ *[a-z][a-z0-9_]*:/ { sub(/:.*/, ""); gsub(/ /, ""); bank = $0; next }
         /^ *[0-9]+ *: 0x/ { split($0, f, /[ :]+0x/); gsub(/ /, "", f[1]); print "@@ pcr", bank, f[1], tolower(f[2]) }' /tmp/pcrs
    pass "pcrread-$1"
}
pcr() { tpm2 pcrread "sha256:$1" 2>/dev/null | sed -n 's/.*: 0x//p'; }

detect() {
    dmesg | grep -iE 'tpm|MSFT0101' | sed 's/^/@@ dmesg /'
    if [ -e /dev/tpm0 ]; then pass tpm-device; else fail tpm-device "no /dev/tpm0"; return 1; fi
    same tpm-version "$(cat /sys/class/tpm/tpm0/tpm_version_major)" 2
    say "kv driver $(basename "$(readlink -f /sys/class/tpm/tpm0/device/driver)")"
    say "kv device $(basename "$(readlink -f /sys/class/tpm/tpm0/device)")"
    if [ -e /sys/firmware/acpi/tables/TPM2 ]; then
        pass acpi-tpm2; say "kv acpi-tpm2 $(hex /sys/firmware/acpi/tables/TPM2)"
    else fail acpi-tpm2 "no TPM2 table"; fi
    if [ -d /sys/class/tpm/tpm0/ppi ]; then
        pass ppi
        for f in version request response vs_operations transition_action; do
            [ -r /sys/class/tpm/tpm0/ppi/$f ] &&
                say "kv ppi-$f $(tr '\n' ';' </sys/class/tpm/tpm0/ppi/$f 2>/dev/null)"
        done
        sed 's/^/@@ ppi-op /' /sys/class/tpm/tpm0/ppi/tcg_operations 2>/dev/null
    else say "skip ppi no PPI interface"; fi
    sb=$(echo /sys/firmware/efi/efivars/SecureBoot-*)
    [ -r "$sb" ] && say "kv secureboot $(hex "$sb")"
    say "kv efi $([ -d /sys/firmware/efi ] && echo yes || echo no)"
    return 0
}

eventlog() {
    log=/sys/kernel/security/tpm0/binary_bios_measurements
    if [ -r $log ] && cat $log >/tmp/eventlog && [ -s /tmp/eventlog ]; then
        pass eventlog; blob eventlog /tmp/eventlog
    else
        say "skip eventlog the firmware left no event log"
    fi
    ima=/sys/kernel/security/ima/binary_runtime_measurements
    [ -r $ima ] && cat $ima >/tmp/ima && [ -s /tmp/ima ] && blob ima /tmp/ima
}

clock() { tpm2 readclock 2>/dev/null | awk -v k="$1" '$1 == k":" { print $2 }'; }
report_clock() {
    for k in reset_count restart_count safe clock time; do say "kv $k-$1 $(clock $k)"; done
}
