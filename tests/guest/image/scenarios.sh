# Scenarios of more than a few lines.

# First boot: leave something in NV, a persistent key and an extended PCR.
# Later boots: it must be there, and the PCRs must not.
persist_boot() {
    report_clock "boot"
    if ! tpm2 nvread -C o -s 32 $NVDATA >nv.old 2>/dev/null; then
        say "kv boot first"
        persistent
        head -c 32 /dev/urandom >nv.new
        check nv-define tpm2 nvdefine -C o -s 32 -a "ownerread|ownerwrite" $NVDATA
        check nv-write tpm2 nvwrite -C o -i nv.new $NVDATA
        check extend tpm2 pcrextend 8:sha256=0808080808080808080808080808080808080808080808080808080808080808
        check extend-debug tpm2 pcrextend 16:sha256=1616161616161616161616161616161616161616161616161616161616161616
        differ pcr16-extended "$(pcr 16)" 0000000000000000000000000000000000000000000000000000000000000000
        say "kv nv-data $(hex nv.new)"
        return 0
    fi
    say "kv boot again"
    pass nv-persistent
    say "kv nv-data $(hex nv.old)"
    check srk-persistent tpm2 readpublic -c $SRK -n srk.name
    say "kv srk-name $(hex srk.name)"
    same pcr16-reset "$(pcr 16 | tr A-F a-f)" 0000000000000000000000000000000000000000000000000000000000000000
    check srk-usable sh -c "tpm2 create -C $SRK -G ecc256 -u k.pub -r k.priv && tpm2 load -C $SRK -u k.pub -r k.priv -c k.ctx"
    check nv-undefine tpm2 nvundefine -C o $NVDATA
    check srk-remove tpm2 evictcontrol -C o -c $SRK
    return 1
}

# The host kills who serves the TPM: that is off until the machine is reset, and lost nothing.
worker_crash() {
    SEALED=0x81000002
    if persist_boot; then
        check seal-evict sh -c "echo sealed-secret | tpm2 create -C $SRK -i - -u s.pub -r s.priv && tpm2 load -C $SRK -u s.pub -r s.priv -c s.ctx && tpm2 evictcontrol -C o -c s.ctx $SEALED"
        wait_host worker-crash
        refuse tpm-off 0x101 tpm2 getrandom --hex 8
        dmesg -c >/dev/null     # the kernel has told of it, too
        end=reboot
    else
        check unseal sh -c "[ \"\$(tpm2 unseal -c $SEALED)\" = sealed-secret ]"
        random
    fi
}

# The TPM is kept busy while the host migrates; PCR 16 must have seen each extend once.
busy() {
    tpm2 createprimary -C o -G ecc256 -c prim.ctx >/dev/null
    say "wait busy"
    n=0 bad=0
    while ! read -t 0 -r reply; do
        n=$((n + 1))
        tpm2 create -C prim.ctx -G ecc256 -u b.pub -r b.priv >/tmp/out 2>&1 ||
            { bad=$((bad + 1)); say "kv busy-error $(tail -n 1 /tmp/out)"; }
        tpm2 getrandom --hex 32 >/dev/null 2>&1 || bad=$((bad + 1))
        tpm2 pcrextend 16:sha256=1111111111111111111111111111111111111111111111111111111111111111 || bad=$((bad + 1))
        [ $((n % 5)) = 0 ] && say "kv busy $n"
    done
    say "kv busy $n"
    same busy-errors "$bad" 0
    tpm2 pcrread sha256:16 -o have >/dev/null
    want=0000000000000000000000000000000000000000000000000000000000000000
    while [ $n -gt 0 ]; do
        want=$(unhex "${want}1111111111111111111111111111111111111111111111111111111111111111" |
            sha256sum | cut -d' ' -f1)
        n=$((n - 1))
    done
    same busy-pcr16 "$(hex have)" "$want"
}

# S3: TPM2_Shutdown(STATE), then Startup(STATE).
suspend() {
    report_clock before
    tpm2 pcrextend 8:sha256=0808080808080808080808080808080808080808080808080808080808080808 >/dev/null
    tpm2 pcrread >pcrs.before
    say "kv mem-sleep $(cat /sys/power/mem_sleep)"
    say "wait suspend"
    echo deep >/sys/power/mem_sleep 2>/dev/null
    check suspend sh -c 'echo mem >/sys/power/state'
    tpm2 pcrread >pcrs.after
    check pcrs-same cmp pcrs.before pcrs.after
    report_clock after
}

# The machine is saved and comes back, here or elsewhere, with the TPM's volatile state.
moved() {               # moved NAME
    volatile_setup
    wait_host "$1"
    if [ "$reply" = mutate ]; then              # to be undone by going back to a snapshot
        tpm2 pcrextend 16:sha256=2222222222222222222222222222222222222222222222222222222222222222
        volatile_clean
        wait_host mutated
    fi
    volatile_verify
    volatile_clean
    report_pcrs after
}

# The firmware is asked to clear the TPM at the next boot, and has done it in that one.
physical_presence() {
    ppi=/sys/class/tpm/tpm0/ppi
    if [ "$(cut -d' ' -f1 <$ppi/response)" = 5 ]; then
        pass ppi-response
        refuse srk-cleared 0x18B tpm2 readpublic -c $SRK
    else
        persistent
        check ppi-request sh -c "echo 5 >$ppi/request"
        say "kv ppi-request $(cat $ppi/request)"
        end=reboot
    fi
}
