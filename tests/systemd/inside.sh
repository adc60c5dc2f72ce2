#!/usr/bin/env bash
# In the container of nspawn.sh, with systemd: the packages are installed, used, killed, upgraded and removed.
set -u # and no pipefail: grep -q ends what still writes when it has found its word
patience=30
cd /packages

fail() {
        echo "FAILED: $*"
        systemctl status --no-pager -l svmd.service svmd-keeper.service svmd-keeper.socket svmd.socket svmd@test.service 2>&1 | tail -40
        journalctl --no-pager -u svmd -u svmd-keeper -u svmd@test -u svmd-keeper@test -u svmd-keeper.socket -u svmd-dbus 2>&1 | tail -40
        exit 1
}

# wait_until SENTENCE COMMAND...: it has come true before patience ends
wait_until() {
        local what=$1 i
        shift
        for ((i = 0; i < patience * 20; i++)); do
                "$@" >/dev/null 2>&1 && { echo "ok: $what"; return; }
                sleep 0.05
        done
        fail "$what: $*"
}

check() {
        local what=$1
        shift
        "$@" >/tmp/said 2>&1 || { tail -20 /tmp/said; fail "$what: $*"; }
        echo "ok: $what"
}

# The journal takes what is said to it in its own time.
log_says() {
        journalctl --no-pager -u svmd | grep -qi -- "$1"
}

main_pid() {
        systemctl show -p MainPID --value "$1"
}

is_new() {
        [ "$(main_pid svmd)" != 0 ] && [ "$(main_pid svmd)" != "$1" ] && systemctl is-active -q svmd
}

status_of() {
        sed -nE "s/^$2:[[:space:]]*//p" "/proc/$(main_pid "$1")/status"
}

check "packages are installed" dpkg -i ./libsvmd1_*.deb ./svmd_*.deb ./svmd-ctl_*.deb ./svmd-exporter_*.deb
wait_until "svmd runs" systemctl is-active svmd.service
check "and its keeper" systemctl is-active svmd-keeper.service
check "it answers" svmd-ctl node list
check "and administrators" svmd-ctl partition list

# ---- the sandbox is in force ----
# sandboxed SVMD OTHER...: units
sandboxed() {
        local unit
        [ "$(stat -c %U "/proc/$(main_pid "$1")")" = svmd ] || fail "$1 runs as another user"
        [ "$(status_of "$1" CapEff)" = 0000000000080020 ] || fail "$1 has the capabilities $(status_of "$1" CapEff)"
        [ "$(status_of "$1" CapBnd)" = 0000000000080020 ] || fail "$1 could get the capabilities $(status_of "$1" CapBnd)"
        for unit in "${@:2}"; do
                [ "$(status_of "$unit" CapBnd)" = 0000000000000000 ] || fail "$unit could get the capabilities $(status_of "$unit" CapBnd)"
        done
        for unit; do
                [ "$(status_of "$unit" NoNewPrivs)" = 1 ] || fail "$unit may get new privileges"
                [ "$(status_of "$unit" Seccomp)" = 2 ] || fail "$unit has no filter of system calls"
                [ "$(readlink "/proc/$(main_pid "$unit")/ns/net")" != "$(readlink /proc/1/ns/net)" ] || fail "$unit sees the network"
                grep -q ' /usr .*\bro\b' "/proc/$(main_pid "$unit")/mountinfo" ||
                        grep -qE ' / / ro' "/proc/$(main_pid "$unit")/mountinfo" || fail "$unit could write to /usr"
                check "$unit is exposed to 2.0 at most" systemd-analyze security --threshold=20 --no-pager "$unit.service"
        done
        echo "ok: the sandbox of $1 is in force"
}
# held UNIT REASON...: what attempts.pl tries is refused to a program in the place of the unit's own, but for what is named;
# root, without any sandbox, could do most of it, so that it was the sandbox (or the unit's user) that refused.
held() {
        local unit=$1 copy=held-${1/@/-} allowed
        shift
        { echo '[Service]'; systemctl cat "$unit.service" | sed -n '/^\[Service\]/,/^\[/p' |
                grep -vE '^(\[|Type=|Exec|Restart|Watchdog|RuntimeDirectory|StateDirectory|KillMode|Sockets|FileDescriptor|BusName|OOMScore)'
          echo 'Type=oneshot'; echo 'ExecStart=/usr/bin/perl /packages/attempts.pl'
          echo 'StandardOutput=journal'; } >/run/systemd/system/$copy.service
        systemctl daemon-reload
        systemctl start $copy.service || fail "nobody could try what $unit may not do"
        journalctl --sync
        journalctl -q -o cat -u $copy.service | grep -E ' (allowed|refused)' >/tmp/tried
        [ "$(wc -l </tmp/tried)" -ge 30 ] || fail "of $unit not all was tried: $(cat /tmp/tried)"
        allowed=$(sed -n 's/ allowed$//p' /tmp/tried | grep -vxF "$(printf '%s\n' none "$@")")
        [ -z "$allowed" ] || fail "$unit may $allowed"
        echo "ok: $unit is refused $(grep -cxFf <(sed -n 's/ allowed$//p' /tmp/free) <(sed -n 's/ refused.*//p' /tmp/tried)) things that root may do"
}
touch /tmp/attempt
perl /packages/attempts.pl >/tmp/free
[ "$(grep -c ' allowed$' /tmp/free)" -ge 20 ] || fail "root may not do either what a sandbox forbids: $(cat /tmp/free)"
for unit in svmd svmd-keeper svmd-dbus svmd-exporter; do
        held $unit
done

wait_until "svmd is on D-Bus" busctl get-property org.svmd1 /org/svmd1 org.svmd1.Manager Running
[ "$(stat -c %U "/proc/$(main_pid svmd-dbus)")" = svmd-dbus ] || fail "svmd-dbus runs as another user"
sandboxed svmd svmd-keeper svmd-dbus
[ -z "$(journalctl -q -u svmd-keeper | grep "without a filter")" ] || fail "svmd-keeper may not put its own filter of system calls on itself"

# ---- D-Bus, polkit, and what the journal has of it ----
as_nobody() {
        setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
create_on_bus() {
        busctl call org.svmd1 /org/svmd1 org.svmd1.Manager CreatePartition 'sa{sv}' "$1" 1 Size t 4294967296
}
# said NUMBER TEXT...: the journal has such a message, and all that is in it
said() {
        local number=$1 text
        shift
        for text; do
                journalctl -q -o export MESSAGE_ID="$number" | grep -qF -- "$text" || return 1
        done
}
changed=ff3c7865b2d541d68c4afdada86e70a3 refused=901d5a3d96e1468199ebef3b3d44c1f8
wait_until "busctl sees its nodes" bash -c 'busctl tree --list org.svmd1 | grep -q /org/svmd1/node/'
check "and what they have" busctl introspect org.svmd1 /org/svmd1/node/host0
check "root makes a partition" create_on_bus on_bus
check "which svmd-ctl shows" svmd-ctl partition show on_bus
wait_until "the journal says who did" said $changed SVMD_OPERATION=partition_create SVMD_ASKER_COMM=busctl SVMD_ASKER_UID=0 \
        'SVMD_ARGUMENTS=name="on_bus" size=4294967296' "SVMD_THROUGH_PID=$(main_pid svmd-dbus)"
check "and svmd-ctl too" svmd-ctl partition delete on_bus
wait_until "the journal says that, too" said $changed SVMD_OPERATION=partition_delete SVMD_ASKER_COMM=svmd-ctl
export -f create_on_bus as_nobody
as_nobody bash -c 'create_on_bus nobodys' >/tmp/denied 2>&1 && fail "anybody may make partitions"
grep -qiE 'has to authenticate|polkit does not allow' /tmp/denied || fail "polkit was not asked: $(cat /tmp/denied)"
as_nobody busctl introspect org.svmd1 /org/svmd1/node/host0 >/dev/null 2>&1 && fail "anybody sees nodes over the bus"
check "anybody sees that svmd runs" setpriv --reuid=65534 --regid=65534 --clear-groups \
        busctl get-property org.svmd1 /org/svmd1 org.svmd1.Manager Running
cat >/etc/polkit-1/rules.d/50-svmd.rules <<'RULE'
polkit.addRule(function(action, subject) {
        if (action.id == "org.svmd1.manage-partitions" && subject.user == "nobody")
                return polkit.Result.YES;
});
RULE
wait_until "with a rule of polkit's he may" bash -c "as_nobody bash -c 'create_on_bus nobodys'"
wait_until "and the journal says that it was he" said $changed SVMD_ASKER_UID=65534
as_nobody busctl call org.svmd1 /org/svmd1/node/host0 org.svmd1.Node Offline >/dev/null 2>&1 && fail "and may do other things"
as_nobody svmd-ctl partition delete nobodys >/dev/null 2>&1 && fail "anybody may delete partitions"
check "he deletes it over the bus" setpriv --reuid=65534 --regid=65534 --clear-groups \
        busctl call org.svmd1 /org/svmd1/partition/nobodys org.svmd1.Partition Delete 'a{sv}' 0
wait_until "the catalogue explains it" bash -c "journalctl -x -u svmd | grep -q 'An administrator has changed something: partition_create'"
[ "$(journalctl --list-catalog | grep -c svmd:)" -ge 17 ] || fail "the catalogue lacks messages"
systemctl stop svmd-dbus.service
check "the bus starts svmd-dbus" busctl get-property org.svmd1 /org/svmd1 org.svmd1.Manager Running
wait_until "which finds svmd" bash -c '[ "$(busctl get-property org.svmd1 /org/svmd1 org.svmd1.Manager Running)" = "b true" ]'

# ---- limits of device memory in control groups, by svmd alone ----
# ask_writer UID GID: a limit for a group that is not there; says the errno that comes back
ask_writer() {
        setpriv --reuid="$1" --regid="$2" --clear-groups perl -MSocket -e '
                my @root = stat("/sys/fs/cgroup");
                my $s;
                socket($s, AF_UNIX, SOCK_SEQPACKET, 0) and connect($s, pack_sockaddr_un("/run/svmd/cgroup.sock")) or exit 1;
                send($s, pack("LSSQQ", 0x67637673, 1, 0, $root[0], $root[1]) . "/none\0v 5\n\0", 0) or exit 1;
                recv($s, my $reply, 64, 0);
                print -(unpack("Ll", $reply))[1], "\n";'
}
check "the writer of control groups is enabled" systemctl start svmd-cgroup.socket
[ "$(ask_writer "$(id -u svmd)" "$(id -g svmd)")" = 2 ] ||
        fail "the writer says of a group that is not there: $(ask_writer "$(id -u svmd)" "$(id -g svmd)" 2>&1)"
systemctl is-active -q svmd-cgroup.service || fail "the writer was not started by who asks"
ask_writer 65534 65534 && fail "anybody may ask the writer"
# Its filter lets it make no process, so that attempts cannot be made in its place.
[ "$(status_of svmd-cgroup CapBnd)" = 0000000000000000 ] || fail "the writer could get the capabilities $(status_of svmd-cgroup CapBnd)"
[ "$(status_of svmd-cgroup NoNewPrivs) $(status_of svmd-cgroup Seccomp)" = "1 2" ] || fail "the writer has no filter of system calls"
check "svmd-cgroup is exposed to 2.0 at most" systemd-analyze security --threshold=20 --no-pager svmd-cgroup.service
systemctl stop svmd-cgroup.socket svmd-cgroup.service

# ---- streams of AMD's driver, by one right alone ----
# ask_smi UID GID: the errno that comes back, and how many streams
ask_smi() {
        setpriv --reuid="$1" --regid="$2" --clear-groups perl -MSocket -e '
                my $s;
                socket($s, AF_UNIX, SOCK_SEQPACKET, 0) and connect($s, pack_sockaddr_un("/run/svmd/smi.sock")) or exit 1;
                recv($s, my $reply, 1024, 0);
                my (undef, undef, $error, $count) = unpack("LLlL", $reply);
                print -$error, " ", $count, "\n";'
}
check "svmd-smi is enabled" systemctl start svmd-smi.socket
said=$(ask_smi "$(id -u svmd)" "$(id -g svmd)")
[ -e /dev/kfd ] || [ "$said" = "2 0" ] || fail "svmd-smi says without a driver: $said"
systemctl is-active -q svmd-smi.service || fail "svmd-smi was not started by who asks"
ask_smi 65534 65534 && fail "anybody may have streams of AMD's driver"
[ "$(status_of svmd-smi CapBnd) $(status_of svmd-smi CapEff)" = "0000000000200000 0000000000200000" ] ||
        fail "svmd-smi has the capabilities $(status_of svmd-smi CapBnd) $(status_of svmd-smi CapEff)"
[ "$(status_of svmd-smi NoNewPrivs) $(status_of svmd-smi Seccomp)" = "1 2" ] || fail "svmd-smi has no filter of system calls"
check "svmd-smi is exposed to 2.0 at most" systemd-analyze security --threshold=20 --no-pager svmd-smi.service
systemctl stop svmd-smi.socket svmd-smi.service

# ---- slots of NVIDIA devices, without NVIDIA's library ----
# ask_cuda UID GID: what HELLO is answered: the errno, and a sentence
ask_cuda() {
        setpriv --reuid="$1" --regid="$2" --clear-groups perl -MSocket -e '
                my $s;
                socket($s, AF_UNIX, SOCK_SEQPACKET, 0) and connect($s, pack_sockaddr_un("/run/svmd/cuda.sock")) or exit 1;
                send($s, pack("LSSLa64", 0x64756376, 1, 1, 0, "cuda:0"), 0);
                recv($s, my $reply, 1024, 0);
                length $reply or exit 1;
                my (undef, $error, undef, $why) = unpack("LlQZ192", $reply);
                print -$error, " ", $why, "\n";'
}
check "svmd-cuda is enabled" systemctl start svmd-cuda.socket
[ "$(stat -c '%U %a' /run/svmd/cuda.sock)" = "svmd 600" ] || fail "its socket is another's: $(stat -c '%U %a' /run/svmd/cuda.sock)"
said=$(ask_cuda "$(id -u svmd)" "$(id -g svmd)")
case $said in
"0 "*libcuda.so.1*) fail "svmd-cuda has a device, and none: $said" ;;
*libcuda.so.1*) ;;
*) ldconfig -p | grep -q 'libcuda\.so\.1' || fail "svmd-cuda says without NVIDIA's library: $said" ;;
esac
systemctl is-active -q svmd-cuda.service || fail "svmd-cuda was not started by who asks"
ask_cuda 65534 65534 && fail "anybody may have memory of NVIDIA devices"
[ "$(stat -c %U "/proc/$(main_pid svmd-cuda)")" = svmd ] || fail "svmd-cuda runs as another user"
[ "$(status_of svmd-cuda CapBnd) $(status_of svmd-cuda CapEff)" = "0000000000000000 0000000000000000" ] ||
        fail "svmd-cuda has the capabilities $(status_of svmd-cuda CapBnd) $(status_of svmd-cuda CapEff)"
[ "$(status_of svmd-cuda NoNewPrivs) $(status_of svmd-cuda Seccomp)" = "1 2" ] || fail "svmd-cuda has no filter of system calls"
[ "$(readlink "/proc/$(main_pid svmd-cuda)/ns/net")" != "$(readlink /proc/1/ns/net)" ] || fail "svmd-cuda sees the network"
grep -q ' /usr .*\bro\b' "/proc/$(main_pid svmd-cuda)/mountinfo" || grep -qE ' / / ro' "/proc/$(main_pid svmd-cuda)/mountinfo" ||
        fail "svmd-cuda could write to /usr"
held svmd-cuda "have memory that is written and executed"
check "svmd-cuda is exposed to 2.5 at most" systemd-analyze security --threshold=25 --no-pager svmd-cuda.service
systemctl stop svmd-cuda.socket svmd-cuda.service

# ---- metrics, by who scrapes ----
scrape() {
        curl -sf --max-time 15 -H "Accept: $1" http://127.0.0.1:9757/metrics
}
scrape_says() {
        scrape "$1" >/tmp/page && grep -q "$2" /tmp/page
}
systemctl is-active -q svmd-exporter.service && fail "the exporter runs before anybody has asked"
wait_until "the exporter is started by its socket, and may ask svmd" scrape_says text/plain '^svmd_up 1$'
check "it knows partitions" grep -q '^svmd_partitions ' /tmp/page
check "and speaks OpenMetrics" scrape_says 'application/openmetrics-text;version=1.0.0' '^# EOF$'
check "it runs" systemctl is-active svmd-exporter.service
for user in root svmd; do
        [ "$(status_of svmd-exporter Uid | cut -f1)" != "$(id -u $user)" ] || fail "the exporter runs as $user"
done
[ "$(status_of svmd-exporter CapBnd)" = 0000000000000000 ] || fail "the exporter could get the capabilities $(status_of svmd-exporter CapBnd)"
[ "$(status_of svmd-exporter Seccomp)" = 2 ] || fail "the exporter has no filter of system calls"
check "svmd-exporter is exposed to 2.0 at most" systemd-analyze security --threshold=20 --no-pager svmd-exporter.service

# ---- a device, so that memory has somewhere to go ----
mkdir -p /etc/svmd/svmd.conf.d
printf '[node gpu0]\nsize = 256M\n' >/etc/svmd/svmd.conf.d/gpu.conf
check "a device is configured" systemctl restart svmd.service
wait_until "and is a node" bash -c 'svmd-ctl node list | grep -q gpu0'

# ---- what container runtimes were told of partitions that have gone ----
check "a partition is told to runtimes" svmd-ctl partition create gone --cdi
told=$(echo /var/run/cdi/*gone*.json)
cp "$told" /tmp/told
check "it goes" svmd-ctl partition delete gone
cp /tmp/told "$told"
check "svmd starts anew" systemctl restart svmd.service
wait_until "and takes back what they were told" bash -c "[ ! -e $told ]"

# ---- a client of another user, whose heap is svmd's, while svmd is killed, stopped and upgraded ----
seq 1 200000 | tac >/tmp/lines
sort /tmp/lines | cksum >/tmp/right
chmod 644 /tmp/lines
cat >/tmp/work.sh <<'WORK'
while [ ! -e /tmp/enough ]; do
        sort --parallel=1 -S 16M /tmp/lines | cksum >/tmp/work.sum || { echo bad >/tmp/work.bad; exit 1; }
        cmp -s /tmp/work.sum /tmp/right || { echo different >/tmp/work.bad; exit 1; }
        echo >>/tmp/work.rounds
done
WORK
sed -i 's#sort --parallel#svmd-run sort --parallel#' /tmp/work.sh
touch /tmp/work.sum /tmp/work.rounds && chown nobody /tmp/work.sum /tmp/work.rounds
setpriv --reuid=65534 --regid=65534 --clear-groups bash /tmp/work.sh &
worker=$!
rounds() {
        [ ! -e /tmp/work.bad ] || fail "a client's answer was wrong: $(cat /tmp/work.bad)"
        kill -0 $worker 2>/dev/null || fail "a client has ended"
        [ "$(wc -l </tmp/work.rounds)" -gt "$1" ]
}
goes_on() {
        local before
        before=$(wc -l </tmp/work.rounds)
        wait_until "$1" rounds $((before + 1))
}
goes_on "a client of another user sorts in svmd's memory"

sees_heap() {
        svmd-ctl session list --json | grep -q sort && svmd-ctl usage --json | grep -q used
}
wait_until "whose session svmd shows" sees_heap

# ---- with all of that in force pages go out and come in, orders are followed, and limits hold ----
mine=$(svmd-ctl session list --json | sed -nE 's/.*"partition": *"([^"]+)".*/\1/p' | head -1)
check "its host memory is limited" svmd-ctl partition set "$mine" --limit host0=8M
on_device() {
        svmd-ctl node show gpu0 --json | grep -qE '"managed": *[1-9]'
}
wait_until "so what it sorts lies on the device" on_device
goes_on "and is right"
check "the limit is taken back" svmd-ctl partition set "$mine" --limit host0=none

before=$(main_pid svmd)
kill -KILL "$before"
wait_until "svmd was killed, and is there again" is_new "$before"
goes_on "its client goes on"

before=$(main_pid svmd)
check "svmd is restarted" systemctl restart svmd.service
wait_until "and is there again" is_new "$before"
goes_on "its client goes on"

# ---- the keeper is a unit of its own ----
unit_of() {
        sed -n 's#.*:.*/\([^/]*\.service\)$#\1#p' "/proc/$1/cgroup" | sort -u
}
keeper=$(main_pid svmd-keeper)
[ "$(unit_of "$keeper")" = svmd-keeper.service ] || fail "the keeper lies in $(unit_of "$keeper")"
check "all of svmd's unit is killed" systemctl kill -s KILL svmd.service
goes_on "its client goes on"
[ "$(main_pid svmd-keeper)" = "$keeper" ] || fail "svmd's end has ended the keeper"
wait_until "svmd is there again" systemctl is-active svmd.service
before=$(main_pid svmd)
kill -KILL "$keeper"
other_keeper() {
        [ "$(main_pid svmd-keeper)" != 0 ] && [ "$(main_pid svmd-keeper)" != "$keeper" ] && svmd-ctl status | grep -q 'keeper  *present'
}
wait_until "the keeper was killed, and systemd has started another one" other_keeper
[ "$(main_pid svmd)" = "$before" ] || fail "the keeper's end has ended svmd"
for pid in $(pgrep -x svmd-keeper); do
        [ "$(unit_of "$pid")" = svmd-keeper.service ] || fail "a keeper lies in $(unit_of "$pid")"
done
goes_on "its client goes on"
before=$(main_pid svmd)
kill -KILL "$before"
wait_until "svmd was killed, and the other keeper had everything" is_new "$before"
goes_on "its client goes on"

# ---- reload ----
goes_by() {
        svmd-ctl policy show | grep -qE "^policy .* $1 "
}
before=$(main_pid svmd)
printf '[svmd]\npolicy = latency\n' >/etc/svmd/svmd.conf.d/policy.conf
check "svmd is reloaded" systemctl reload svmd.service
check "and goes by the new configuration" goes_by latency
printf '[svmd]\npolicy = pinned\nmax-sessions = many\n' >/etc/svmd/svmd.conf.d/policy.conf
systemctl reload svmd.service 2>/dev/null && fail "a mistake in the configuration is no failure of the reload"
wait_until "the log says what is wrong" log_says 'policy.conf:3: max-sessions: expected a number'
check "a mistake changes nothing" goes_by latency
[ "$(main_pid svmd)" = "$before" ] || fail "a reload has ended svmd"
wait_until "svmd is active after it" systemctl is-active svmd.service
rm /etc/svmd/svmd.conf.d/policy.conf
check "svmd is reloaded again" systemctl reload svmd.service
check "and goes by what was there before" goes_by balanced
goes_on "its client goes on"

# ---- another svmd beside it ----
printf '[svmd]\nhost-capacity = 64M\n[node other0]\nsize = 64M\n' >/etc/svmd/test.conf
beside() {
        svmd-ctl --runtime-dir /run/svmd-test "$@"
}
before=$(main_pid svmd)
check "another svmd is started" systemctl start svmd@test.service
check "it has its own nodes" bash -c 'svmd-ctl --runtime-dir /run/svmd-test node list | grep -q other0'
check "and keeper" systemctl is-active svmd-keeper@test.service
check "and administrators" beside partition list
check "members of svmd-admin among them" setpriv --reuid=65534 --regid=65534 --groups="$(getent group svmd-admin | cut -d: -f3)" \
        svmd-ctl --runtime-dir /run/svmd-test partition list
setpriv --reuid=65534 --regid=65534 --clear-groups svmd-ctl --runtime-dir /run/svmd-test partition list >/dev/null 2>&1 &&
        fail "anybody may administer the other svmd"
svmd-ctl node list | grep -q other0 && fail "both svmds are one"
sandboxed svmd@test svmd-keeper@test
printf '[svmd]\npolicy = pinned\n[node other0]\nsize = 64M\n' >/etc/svmd/test.conf
check "it is reloaded" systemctl reload svmd@test.service
beside policy show | grep -qE '^policy .* pinned ' || fail "the other svmd was not reloaded"
check "the first one is not" goes_by balanced
check "it is stopped" systemctl stop svmd@test.socket svmd-admin@test.socket svmd-keeper@test.socket svmd@test.service svmd-keeper@test.service
[ "$(main_pid svmd)" = "$before" ] || fail "the other svmd's end was the first one's, too"
goes_on "a client of the first goes on"

mkdir -p /etc/systemd/system/svmd.service.d
printf '[Service]\nWatchdogSec=2s\n' >/etc/systemd/system/svmd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart svmd.service
before=$(main_pid svmd)
kill -STOP "$before"
wait_until "svmd hung, and the watchdog replaced it" is_new "$before"
wait_until "which the log says" log_says 'watchdog timeout'
goes_on "its client goes on"

before=$(main_pid svmd)
keeper=$(main_pid svmd-keeper)
check "packages are upgraded" dpkg -i later/libsvmd1_*.deb later/svmd_*.deb later/svmd-ctl_*.deb later/svmd-exporter_*.deb
wait_until "another svmd runs" is_new "$before"
[ "$(main_pid svmd-keeper)" = "$keeper" ] || fail "the upgrade has ended the keeper"
goes_on "its client goes on"
touch /tmp/enough
wait $worker || fail "the client failed: $(cat /tmp/work.bad)"

check "metrics go on" scrape_says text/plain "^svmd_up 1$"

# ---- started by who connects ----
systemctl stop svmd.service
systemctl is-active -q svmd.service && fail "svmd does not stop"
check "svmd is started by its socket" svmd-ctl node list
wait_until "and runs" systemctl is-active svmd.service

# ---- who may what ----
setpriv --reuid=65534 --regid=65534 --clear-groups svmd-ctl partition list >/dev/null 2>&1 && fail "anybody may administer"
check "a member of svmd-admin may administer" setpriv --reuid=65534 --regid=65534 --groups="$(getent group svmd-admin | cut -d: -f3)" \
        svmd-ctl partition list

dpkg -r svmd-exporter svmd-ctl svmd libsvmd1 >/dev/null 2>&1 || fail "the packages are not removed"
wait_until "nothing of svmd runs any more" bash -c '! pgrep -x "svmd|svmd-keeper|svmd-dbus"'
dpkg -P svmd >/dev/null 2>&1
[ ! -e /var/lib/svmd ] || fail "purging leaves /var/lib/svmd"
echo "everything held"
