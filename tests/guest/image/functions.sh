# What a guest does with a TPM: properties, keys, attestation, sealing, NV, persistence.

properties() {
    check getcap-fixed sh -c 'tpm2 getcap properties-fixed >fixed'
    check getcap-variable sh -c 'tpm2 getcap properties-variable >variable'
    # Each property is a name, then "raw: VALUE", some with a text "value:".
    awk '/^TPM2_PT/ { sub(/:.*/, ""); p = $0; next }
         /raw:/ && p ~ /MANUFACTURER|VENDOR_STRING|FIRMWARE_VERSION|REVISION|TOTAL_COMMANDS|INPUT_BUFFER|NV_INDEX_MAX|MAX_COMMAND_SIZE|HR_TRANSIENT_MIN/ {
             print "@@ kv", tolower(p), $2 }' fixed
    grep -E 'phEnable|shEnable|ehEnable|disableClear|inLockout|orderly' variable |
        sed 's/^ */@@ kv variable-/; s/: */ /'
    for what in commands algorithms pcrs handles-persistent handles-nv-index; do
        check getcap-$what sh -c "tpm2 getcap $what >cap-$what"
    done
    say "kv commands $(grep -c '^TPM2_CC' cap-commands)"
    say "kv nv-indexes $(sed -n 's/^- //p' cap-handles-nv-index | tr '\n' ' ')"
    say "kv persistent $(sed -n 's/^- //p' cap-handles-persistent | tr '\n' ' ')"
}

ek_certificates() {
    found=0
    for nv in 0x01c00002 0x01c0000a 0x01c00012 0x01c00014 0x01c00016 0x01c00100 0x01c00101 0x01c08000; do
        if tpm2 nvread -C o "$nv" >ekcert 2>/dev/null && [ -s ekcert ]; then
            found=1; blob "ekcert-$nv" ekcert
        fi
    done
    if [ $found = 1 ]; then
        check ekcert tpm2 getekcertificate -o ekcert-rsa -o ekcert-ecc
        blob ekcert-rsa ekcert-rsa
        blob ekcert-ecc ekcert-ecc
    else say "skip ekcert no EK certificate in NV"; fi
}

random() {
    check getrandom sh -c 'tpm2 getrandom 32 >rnd1 && tpm2 getrandom 32 >rnd2 && ! cmp -s rnd1 rnd2 && [ "$(wc -c <rnd1)" = 32 ]'
}

keys() {
    echo "what the guest signs" >msg
    check primary-ecc tpm2 createprimary -C o -G ecc256 -c prim.ctx
    check create-ecc tpm2 create -C prim.ctx -G ecc256:ecdsa -u ecc.pub -r ecc.priv
    check load-ecc tpm2 load -C prim.ctx -u ecc.pub -r ecc.priv -c ecc.ctx
    check sign-ecc tpm2 sign -c ecc.ctx -g sha256 -o msg.sig msg
    check verify-ecc tpm2 verifysignature -c ecc.ctx -g sha256 -m msg -s msg.sig
    echo "tampered with" >msg2
    refuse verify-tampered 0x2DB tpm2 verifysignature -c ecc.ctx -g sha256 -m msg2 -s msg.sig
    check create-rsa tpm2 create -C prim.ctx -G rsa2048 -u rsa.pub -r rsa.priv
    check load-rsa tpm2 load -C prim.ctx -u rsa.pub -r rsa.priv -c rsa.ctx
    check rsa-encrypt tpm2 rsaencrypt -c rsa.ctx -o msg.enc msg
    check rsa-decrypt sh -c 'tpm2 rsadecrypt -c rsa.ctx -o msg.dec msg.enc && cmp msg msg.dec'
    check create-hmac tpm2 create -C prim.ctx -G hmac -u hmac.pub -r hmac.priv
    check load-hmac tpm2 load -C prim.ctx -u hmac.pub -r hmac.priv -c hmac.ctx
    check hmac sh -c 'tpm2 hmac -c hmac.ctx --hex msg >h1 && tpm2 hmac -c hmac.ctx --hex msg >h2 && cmp h1 h2'
    check hash sh -c '[ "$(tpm2 hash -g sha256 --hex msg)" = "$(sha256sum <msg | cut -d" " -f1)" ]'
    check create-aes tpm2 create -C prim.ctx -G aes128cfb -u aes.pub -r aes.priv
    check load-aes tpm2 load -C prim.ctx -u aes.pub -r aes.priv -c aes.ctx
    check aes sh -c 'tpm2 encryptdecrypt -c aes.ctx -o aes.enc msg && tpm2 encryptdecrypt -d -c aes.ctx -o aes.dec aes.enc && cmp msg aes.dec'
}

attestation() {
    check ek-rsa tpm2 createek -c ek.ctx -G rsa -u ek.pem -f pem
    check ak-ecc tpm2 createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -f pem -n ak.name
    echo "the credential" >secret
    check makecredential sh -c 'tpm2 makecredential -T none -e ek.pem -G rsa -s secret -n "$(od -An -v -tx1 ak.name | tr -d " \n")" -o cred'
    check cred-session sh -c 'tpm2 startauthsession --policy-session -S es.ctx && tpm2 policysecret -S es.ctx -c e'
    check activatecredential sh -c 'tpm2 activatecredential -c ak.ctx -C ek.ctx -i cred -o cred.out -P session:es.ctx && cmp secret cred.out'
    tpm2 flushcontext es.ctx >/dev/null 2>&1
    check quote tpm2 quote -c ak.ctx -l sha256:0,1,2,3,4,5,6,7 -q 5ca1ab1e -m quote.msg -s quote.sig -o quote.pcrs -g sha256
    check checkquote tpm2 checkquote -u ak.pub -m quote.msg -s quote.sig -f quote.pcrs -q 5ca1ab1e -g sha256
    refuse checkquote-nonce . tpm2 checkquote -u ak.pub -m quote.msg -s quote.sig -f quote.pcrs -q 00000000 -g sha256
}

seal() {
    check seal-policy sh -c 'tpm2 startauthsession -S tr.ctx && tpm2 policypcr -S tr.ctx -l sha256:0,1,2,3,4,5,7,16 -L pcr.policy && tpm2 flushcontext tr.ctx'
    check seal-create sh -c 'echo sealed-secret | tpm2 create -C prim.ctx -L pcr.policy -i - -u seal.pub -r seal.priv'
    check seal-load tpm2 load -C prim.ctx -u seal.pub -r seal.priv -c seal.ctx
    check unseal sh -c '[ "$(tpm2 unseal -c seal.ctx -p pcr:sha256:0,1,2,3,4,5,7,16)" = sealed-secret ]'
    check pcrextend tpm2 pcrextend 16:sha256=0000000000000000000000000000000000000000000000000000000000000001
    refuse unseal-after-extend 0x99D tpm2 unseal -c seal.ctx -p pcr:sha256:0,1,2,3,4,5,7,16
    check pcrreset tpm2 pcrreset 16
    check unseal-after-reset sh -c '[ "$(tpm2 unseal -c seal.ctx -p pcr:sha256:0,1,2,3,4,5,7,16)" = sealed-secret ]'
    check hmac-session sh -c 'tpm2 startauthsession --hmac-session -S hs.ctx -c prim.ctx && tpm2 sessionconfig hs.ctx --enable-encrypt --enable-decrypt && tpm2 getrandom -S hs.ctx --hex 16 && tpm2 flushcontext hs.ctx'
}

nv() {
    nvi=0x01500030
    check nv-define tpm2 nvdefine -C o -s 64 -a "ownerread|ownerwrite|authread|authwrite" -p nvpass $nvi
    head -c 64 /dev/urandom >nv.in
    check nv-write tpm2 nvwrite -C o -i nv.in $nvi
    check nv-read sh -c "tpm2 nvread -C o -s 64 $nvi >nv.out && cmp nv.in nv.out"
    check nv-read-auth sh -c "tpm2 nvread -C $nvi -P nvpass -s 64 $nvi >nv.out && cmp nv.in nv.out"
    refuse nv-wrong-auth 0x98E tpm2 nvread -C $nvi -P wrong -s 64 $nvi
    check nv-undefine tpm2 nvundefine -C o $nvi
    check nv-counter sh -c "tpm2 nvdefine -C o -s 8 -a 'ownerread|ownerwrite|nt=counter' $nvi && tpm2 nvincrement -C o $nvi && tpm2 nvincrement -C o $nvi && tpm2 nvread -C o $nvi | wc -c && tpm2 nvundefine -C o $nvi"
    check da-setup tpm2 dictionarylockout -s -n 32 -t 10 -l 10
}

persistent() {
    if tpm2 readpublic -c $SRK -n srk.old >/dev/null 2>&1; then
        pass srk-present
    else
        check srk-create tpm2 createprimary -C o -g sha256 -G ecc256 -c srk.ctx
        check srk-evict tpm2 evictcontrol -C o -c srk.ctx $SRK
    fi
    check srk-read tpm2 readpublic -c $SRK -n srk.name
    say "kv srk-name $(hex srk.name)"
}
clear_tpm() {
    check clear tpm2 clear -c l
    refuse srk-gone 0x18B tpm2 readpublic -c $SRK
}
