# What a machine does to be attested: it shows its EK's certificate and an AK, opens the verifier's
# challenge, and answers each nonce with a quote.

AK=0x81000010
ALL=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14

# A new AK, proven to be in the TPM that has the certified EK.
enrol() {
    check createek tpm2 createek -c ek.ctx -G "$1" -u ek.pub
    check getekcertificate tpm2 getekcertificate -o ek-rsa.crt -o ek-ecc.crt
    check createak tpm2 createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -n ak.name
    check keep-ak tpm2 evictcontrol -C o -c ak.ctx $AK
    blob ek.crt "ek-$1.crt"
    blob ak.pub ak.pub
    wait_host challenge
    echo "$reply" | base64 -d >credential.blob
    check session sh -c 'tpm2 startauthsession --policy-session -S s.ctx && tpm2 policysecret -S s.ctx -c e'
    check activatecredential tpm2 activatecredential -c ak.ctx -C ek.ctx -i credential.blob -o answer -P session:s.ctx
    tpm2 flushcontext s.ctx >/dev/null 2>&1
    blob answer answer
}

attest() {
    tpm2 readpublic -c $AK >/dev/null 2>&1 || enrol ecc
    wait_host nonce
    check attest-quote tpm2 quote -c $AK -l "sha256:$ALL+sha384:$ALL" -q "$reply" -g sha256 -m message -s signature -o pcrs
    for file in message signature pcrs; do blob $file $file; done
}
