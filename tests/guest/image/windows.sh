# What Windows asks of a TPM 2.0, as far as another guest can tell: properties and
# algorithms, the SHA-256 bank, an RSA SRK and EK, a key sealed as BitLocker's
# TPM+PIN is (PolicyAuthValue and PolicyPCR), dictionary attack counting, PPI.
windows() {
    check win-family sh -c 'grep -A2 FAMILY_INDICATOR fixed | grep -q "2\.0"'
    revision=$(awk '/^TPM2_PT_REVISION/ { getline; print $2; exit }' fixed)
    if [ $((revision)) -ge 138 ]; then pass win-revision; else fail win-revision "$revision"; fi
    check win-algorithms sh -c 'for alg in rsa sha256 hmac aes keyedhash ecc cfb ecdsa; do
        grep -q "^$alg:" cap-algorithms || { echo "no $alg"; exit 1; }
    done'
    check win-curve sh -c 'tpm2 getcap ecc-curves | grep -q "TPM2_ECC_NIST_P256"'
    check win-bank sh -c 'tpm2 pcrread sha256:0,7 | grep -qi "0x[0-9a-f]\{64\}"'
    check win-ek tpm2 createek -c winek.ctx -G rsa -u winek.pub
    check win-srk sh -c "tpm2 createprimary -C o -G rsa2048 -g sha256 -c winsrk.ctx && tpm2 evictcontrol -C o -c winsrk.ctx $SRK"
    check win-policy sh -c 'tpm2 startauthsession -S w.ctx && tpm2 policyauthvalue -S w.ctx && tpm2 policypcr -S w.ctx -l sha256:7,11 -L win.policy && tpm2 flushcontext w.ctx'
    check win-seal sh -c "head -c 32 /dev/urandom >vmk && tpm2 create -C $SRK -L win.policy -p 123456 -i vmk -a 'fixedtpm|fixedparent' -u w.pub -r w.priv && tpm2 load -C $SRK -u w.pub -r w.priv -c w.obj"
    cat >unseal.sh <<'SH'
tpm2 startauthsession --policy-session -S w.ctx >/dev/null && tpm2 policyauthvalue -S w.ctx &&
    tpm2 policypcr -S w.ctx -l sha256:7,11 >/dev/null && tpm2 unseal -c w.obj -p session:w.ctx+$1 -o vmk.out
rc=$?
tpm2 flushcontext w.ctx
exit $rc
SH
    check win-unseal sh -c 'sh unseal.sh 123456 && cmp vmk vmk.out'
    counter() { tpm2 getcap properties-variable | awk '/TPM2_PT_LOCKOUT_COUNTER/ { sub(/.*: */, ""); print $0 + 0 ; exit }'; }
    same win-counter-before "$(counter)" 0
    refuse win-wrong-pin 0x98E sh unseal.sh 000000
    differ win-counter-after "$(counter)" 0
    check win-lockout-reset tpm2 dictionarylockout -c
    same win-counter-reset "$(counter)" 0
    check win-extend tpm2 pcrextend 11:sha256=1111111111111111111111111111111111111111111111111111111111111111
    refuse win-unseal-capped 0x99D sh unseal.sh 123456
    check win-ppi sh -c 'for op in 5 14 21 22 23; do
        grep -q "^$op [34]:" /sys/class/tpm/tpm0/ppi/tcg_operations || { echo "no operation $op"; exit 1; }
    done'
    check win-srk-remove tpm2 evictcontrol -C o -c $SRK
}
