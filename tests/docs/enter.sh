# A host of its own for a page's commands: run by unshare as the first process of new mount and PID
# namespaces, with a terminal. What is written to the system's directories stays in this host's
# memory and goes with it.
#
#   enter.sh DIRECTORY WORK REPOSITORY VENV ORDERS ANSWERS
#
# DIRECTORY/bin has programs that come first; commands are typed in WORK, beside the repository's files.
# ORDERS is a descriptor with the name of a file on each line, which holds a command; its output goes
# to FILE.out, and its exit status, on a line, to ANSWERS.
set -e
directory=$1 work=$2 repository=$3 venv=$4 orders=$5 answers=$6

mkdir -p "$directory/layers"
mount -t tmpfs -o mode=0755 layers "$directory/layers"
for place in etc opt usr var; do
    mkdir -p "$directory/layers/$place/upper" "$directory/layers/$place/work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$directory/layers/$place/upper" \
        -o "workdir=$directory/layers/$place/work" layer "/$place"
done
mount -t tmpfs -o mode=0755 run /run
for place in "$repository" "$venv"; do
    mount --bind "$place" "$place"
    mount -o remount,bind,ro "$place"
done
for name in config examples systemd packaging; do
    ln -sfn "$repository/$name" "$work/"
done
ln -sfn "$venv" /opt/vtpmd
for name in vtpmd vtpmctl vtpmd-swtpm; do
    ln -sfn "/opt/vtpmd/bin/$name" /usr/bin/
done

cd "$work"
export HOME=$work PATH=$directory/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
unset VTPMD_ADMIN_SOCKET
umask 022
set +e
while read -r -u "$orders" order; do
    source "$order" >"$order.out" 2>&1
    echo $? >&"$answers"
done
