# What lives only in the TPM's volatile state, made through /dev/tpm0:
#   a transient key at 0x8000000N, a loaded policy session that has seen
#   PolicyPCR, a saved session context, a hash sequence half fed, PCR 16 and 23.

NOAUTH=00000009400000090000000000               # one empty password authorization
raw_ok() { case $rsp in ????????????00000000*) pass "$1" ;; *) fail "$1" "$rsp" ;; esac; }

volatile_setup() {
    tpm2 pcrextend 16:sha256=1111111111111111111111111111111111111111111111111111111111111111 \
        23:sha256=2323232323232323232323232323232323232323232323232323232323232323 >/dev/null
    check vol-primary tpm2 createprimary -C o -G ecc256:ecdsa -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign' -c vol.ctx -T $RAW
    vol_key=0x$(tpm2 getcap handles-transient -T $RAW | sed -n 's/^- 0x//p' | tail -n 1)
    say "kv vol-key $vol_key"
    check vol-name tpm2 readpublic -c $vol_key -n vol.name -T $RAW
    # StartAuthSession: policy, sha256, unsalted, unbound
    rsp=$(raw 8001 00000176 400000074000000700100123456789abcdef0123456789abcdef0000010010000b)
    vol_session=$(echo "$rsp" | cut -c21-28)
    raw_ok vol-session
    rsp=$(raw 8001 0000017f ${vol_session}000000000001000b03ff0000)     # PolicyPCR, 0-7
    raw_ok vol-policypcr
    vol_digest=$(raw 8001 00000189 "$vol_session")                      # PolicyGetDigest
    say "kv vol-session $vol_session $vol_digest"
    rsp=$(raw 8001 00000186 0000000b)                                   # HashSequenceStart
    vol_seq=$(echo "$rsp" | cut -c21-28)
    raw_ok vol-sequence
    rsp=$(raw 8002 0000015c "${vol_seq}${NOAUTH}0004$(printf half | hex)")     # SequenceUpdate
    raw_ok vol-update
    # a policy session that tpm2-tools keeps as a saved context in a file
    check vol-saved tpm2 startauthsession --policy-session -S vol.session -T $RAW
    check vol-saved-policy tpm2 policypcr -S vol.session -l sha256:0,1,2,3,4,5,6,7 -L vol.policy -T $RAW
    tpm2 pcrread >pcrs.before
    clock_before=$(clock clock); resets_before=$(clock reset_count)
}
volatile_verify() {
    tpm2 pcrread >pcrs.after
    check vol-pcrs-same cmp pcrs.before pcrs.after
    same vol-reset-count "$(clock reset_count)" "$resets_before"
    clock_after=$(clock clock)
    if [ "$clock_after" -ge "$clock_before" ]; then pass vol-clock
    else fail vol-clock "$clock_after < $clock_before"; fi
    check vol-name-same sh -c "tpm2 readpublic -c $vol_key -n vol.name2 -T $RAW && cmp vol.name vol.name2"
    echo "signed after the move" >msg
    check vol-sign sh -c "tpm2 sign -c $vol_key -g sha256 -o vol.sig msg -T $RAW && tpm2 verifysignature -c $vol_key -g sha256 -m msg -s vol.sig -T $RAW"
    same vol-session-digest "$(raw 8001 00000189 "$vol_session")" "$vol_digest"
    rsp=$(raw 8002 0000015c "${vol_seq}${NOAUTH}0004$(printf full | hex)")
    raw_ok vol-update-after
    rsp=$(raw 8002 0000013e "${vol_seq}${NOAUTH}000040000007")           # SequenceComplete
    want=$(printf halffull | sha256sum | cut -d' ' -f1)
    case $rsp in *$want*) pass vol-sequence-result ;; *) fail vol-sequence-result "$rsp" ;; esac
    check vol-saved-after sh -c "tpm2 policypcr -S vol.session -l sha256:0,1,2,3,4,5,6,7 -L vol.policy2 -T $RAW"
}
volatile_clean() {
    tpm2 flushcontext vol.session -T $RAW >/dev/null 2>&1
    raw 8001 00000165 "$vol_session" >/dev/null                         # FlushContext
    raw 8001 00000165 "${vol_key#0x}" >/dev/null
}
