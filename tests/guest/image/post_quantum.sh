# Keys of ML-DSA and ML-KEM, by octets: tpm2-tools do not know them yet. All that is sent and
# received has to pass through the buffer of the TPM's interface (3,968 octets in QEMU's CRB).

NOAUTHS=00000012400000090000000000400000090000000000      # two empty password authorizations

# big NAME OCTETS: a response of that size is passed on whole
big() { same "$1" "$((${#rsp} / 2))" "$2"; }
handle_of() { echo "$1" | cut -c21-28; }
# primary SIZE TEMPLATE...: TPM2_CreatePrimary, owner hierarchy
primary() {
    raw 8002 00000131 "40000001${NOAUTH}000400000000$(echo "$*" | tr -d ' ')000000000000"
}
flush() { raw 8001 00000165 "$1" >/dev/null; }

post_quantum() {
    rsp=$(raw 8001 0000017a 000000060000013100000001)       # TPM_PT_ML_PARAMETER_SETS
    case $rsp in *000001310000005e) pass pqc-sets ;; *) fail pqc-sets "$rsp" ;; esac
    sign_messages
    share_secrets
}

# ML-DSA-65: a message in two pieces, its verification, a quote
sign_messages() {
    rsp=$(primary 000f 00a1000b00040472 0000 0002 00 0000)
    raw_ok pqc-signing-key
    key=$(handle_of "$rsp")
    rsp=$(raw 8001 000001aa "${key}00000000")               # SignSequenceStart
    raw_ok pqc-sign-start
    seq=$(handle_of "$rsp")
    rsp=$(raw 8002 0000015c "${seq}${NOAUTH}0004$(printf half | hex)")
    raw_ok pqc-update
    rsp=$(raw 8002 000001a4 "${seq}${key}${NOAUTHS}0004$(printf full | hex)")
    raw_ok pqc-sign
    big pqc-signature 3337
    signature=$(echo "$rsp" | cut -c29-6654)
    rsp=$(raw 8001 000001a9 "${key}000000000000")           # VerifySequenceStart
    raw_ok pqc-verify-start
    seq=$(handle_of "$rsp")
    rsp=$(raw 8002 0000015c "${seq}${NOAUTH}0008$(printf halffull | hex)")
    raw_ok pqc-update-again
    rsp=$(raw 8002 000001a3 "${seq}${key}${NOAUTH}${signature}")
    raw_ok pqc-verify
    rsp=$(raw 8002 00000158 "${key}${NOAUTH}0000001000000001000b03ffffff")
    raw_ok pqc-quote
    big pqc-quote-size 3447
    flush "$key"
}

# ML-KEM-1024: what is encapsulated is what is decapsulated
share_secrets() {
    rsp=$(primary 0010 00a0000b00020472 0000 0010 0003 0000)
    raw_ok pqc-kem-key
    key=$(handle_of "$rsp")
    rsp=$(raw 8001 000001a7 "$key")
    raw_ok pqc-encapsulate
    big pqc-ciphertext 1614
    secret=$(echo "$rsp" | cut -c21-88)
    ciphertext=$(echo "$rsp" | cut -c89-)
    rsp=$(raw 8002 000001a8 "${key}${NOAUTH}${ciphertext}")
    raw_ok pqc-decapsulate
    same pqc-secret "$(echo "$rsp" | cut -c29-96)" "$secret"
    flush "$key"
}
