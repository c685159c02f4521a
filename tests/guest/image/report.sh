# Reporting to the host, and checks. Every record is a line that begins with "@@ ":
#
#   @@ start SCENARIO KERNEL          the guest is up
#   @@ kv KEY VALUE                   a fact
#   @@ pcr BANK INDEX HEX             a PCR value; "@@ pcrs TAG" opens a set
#   @@ blob NAME SIZE MD5             then "@@ | BASE64" lines (gzip), "@@ endblob NAME"
#   @@ pass NAME SECONDS              a check and how long it took
#   @@ fail NAME REASON
#   @@ skip NAME REASON
#   @@ wait NAME                      the guest waits for the host (for a line from it, mostly)
#   @@ done PASSES FAILS END          the last record

passes=0 fails=0

say() { echo "@@ $*"; }
now() { read -r up _ </proc/uptime; echo "$up"; }
pass() { passes=$((passes + 1)); say "pass $1 ${2:-}"; }
fail() { fails=$((fails + 1)); say "fail $*"; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

# check NAME COMMAND...: the command must succeed
check() {
    name=$1; shift; t0=$(now)
    if "$@" >/tmp/out 2>&1; then pass "$name" "$(since "$t0")"
    else fail "$name" "rc=$? $(tail -n 3 /tmp/out | tr '\n' ' ')"; fi
}
# refuse NAME REASON COMMAND...: the command must fail and say REASON, mostly a
# response code as tpm2-tools prints it
refuse() {
    name=$1 reason=$2; shift 2; t0=$(now)
    if "$@" >/tmp/out 2>&1; then fail "$name" "succeeded, should have been refused"
    elif ! grep -qiE "$reason" /tmp/out; then
        fail "$name" "no $reason in: $(tail -n 3 /tmp/out | tr '\n' ' ')"
    else pass "$name" "$(since "$t0")"; fi
}
same() {        # same NAME A B
    if [ -n "$2" ] && [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "'$2' is not '$3'"; fi
}
differ() {
    if [ -n "$2" ] && [ "$2" != "$3" ]; then pass "$1"; else fail "$1" "both are '$2'"; fi
}
blob() {        # blob NAME FILE
    say "blob $1 $(wc -c <"$2") $(md5sum <"$2" | cut -d' ' -f1)"
    gzip -c <"$2" | base64 | sed 's/^/@@ | /'
    say "endblob $1"
}
hex() { od -An -v -tx1 "$@" | tr -d ' \n'; }
wait_host() { say "wait $1"; read -r reply; say "kv host-said $reply"; }

unhex() { printf "$(echo "$1" | sed 's/../\\x&/g')"; }

# raw TAG CODE BODY: one TPM command to /dev/tpm0 (all hex; the size is filled
# in), the response in hex
raw() {
    unhex "$1$(printf %08x $((10 + ${#3} / 2)))$2$3" >/tmp/raw.cmd
    tpm2 send -T $RAW -o /tmp/raw.rsp /tmp/raw.cmd 2>/tmp/raw.err
    hex /tmp/raw.rsp
}
