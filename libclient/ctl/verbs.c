#include "verbs.h"

#include <limits.h>
#include <string.h>

#include "args.h"
#include "complete.h"
#include "ctl.h"
#include "help.h"
#include "reach.h"
#include "suggest.h"

#define CHANGE_PAGES  BIT(OPT_PARTITION) | BIT(OPT_DRY_RUN) | BIT(OPT_TIMEOUT)
#define BOUNDS        BIT(OPT_MAX) | BIT(OPT_HIGH) | BIT(OPT_LOW) | BIT(OPT_MIN)
#define COMES_DOWN    BIT(OPT_DEADLINE) | BIT(OPT_FORCE) | BIT(OPT_YES)
#define COMMON_LIMITS BIT(OPT_LIMIT) | BOUNDS | BIT(OPT_KEPT_MAX) | BIT(OPT_OWNER) | BIT(OPT_MODE) | BIT(OPT_DRY_RUN)

const struct verb verbs[] = {
        { "status",
          "",
          0,
          0,
          0,
          0,
          "Show how svmd is",
          "Its version, how long it has been up, and how much it holds.",
          { "svmd-ctl status", "svmd-ctl status --json | jq .sessions" },
          status_run },
        { "doctor",
          "",
          0,
          0,
          0,
          0,
          "Show what svmd found out about this machine and its own rights",
          "Ends with 1 if something is a failure.",
          { "svmd-ctl doctor", "svmd-ctl doctor --json | jq '.[] | select(.level == \"failure\")'" },
          doctor_run },
        { "node list",
          "",
          0,
          0,
          0,
          0,
          "List the places where memory can live",
          NULL,
          { "svmd-ctl node list", "svmd-ctl node list --json | jq -r '.[].name'" },
          node_list_run },
        { "node show",
          "NODE",
          1,
          1,
          0,
          0,
          "Show one node: its use, its hive and its links",
          "NODE is a name or a number of 'node list'. An administrator also sees who uses it.",
          { "svmd-ctl node show gpu0", "svmd-ctl node show gpu0 --json | jq .links" },
          node_show_run },
        { "node drain",
          "NODE",
          1,
          1,
          BIT(OPT_DRY_RUN) | BIT(OPT_YES) | BIT(OPT_TIMEOUT),
          VERB_ADMIN | VERB_ASKS,
          "Take a node out of use and wait till managed memory has left it",
          "It takes nothing more. Memory that programs created there themselves goes to a host, unless it is pinned or has no "
          "room there. --dry-run, and the question on a terminal, show whose memory leaves and whose stays. When the time is "
          "over it ends with 3, and the node goes on being drained.",
          { "svmd-ctl node drain gpu0 --timeout 60", "svmd-ctl node drain gpu0 --dry-run" },
          node_drain_run },
        { "node offline",
          "NODE",
          1,
          1,
          BIT(OPT_DRY_RUN) | BIT(OPT_YES) | BIT(OPT_TIMEOUT),
          VERB_ADMIN | VERB_ASKS,
          "Take a node out of use, whatever has to stay there",
          "As 'node drain', but what cannot leave is no failure.",
          { "svmd-ctl node offline gpu0", "svmd-ctl node offline gpu0 --dry-run" },
          node_offline_run },
        { "node lost",
          "NODE",
          1,
          1,
          BIT(OPT_DRY_RUN) | BIT(OPT_YES) | BIT(OPT_TIMEOUT),
          VERB_ADMIN | VERB_ASKS,
          "Say that a device has vanished, with what was there",
          "Managed content that lay nowhere else is lost: whoever touches it waits, or gets SIGBUS where the reservation "
          "says so, until it is discarded. So is memory that programs created there themselves, until it is released.",
          { "svmd-ctl node lost gpu0", "svmd-ctl node lost gpu0 --yes" },
          node_lost_run },
        { "node online",
          "NODE",
          1,
          1,
          BIT(OPT_DRY_RUN) | BIT(OPT_TIMEOUT),
          VERB_ADMIN,
          "Take a node into use again",
          NULL,
          { "svmd-ctl node online gpu0", "svmd-ctl node online 1" },
          node_online_run },
        { "partition create",
          "NAME",
          1,
          1,
          BIT(OPT_SIZE) | BIT(OPT_WINDOW) | BIT(OPT_DOMAIN) | BIT(OPT_CDI) | BIT(OPT_CDI_DIR) | BIT(OPT_HOOK) |
                  COMMON_LIMITS,
          VERB_ADMIN,
          "Create a partition: a slice of addresses with an owner and limits",
          "It is kept over restarts of svmd. With --cdi, containers get it as the device svmd.org/partition=NAME.",
          { "svmd-ctl partition create train --size 16G --owner alice --limit gpu0=2G --limit host0=8G",
            "svmd-ctl partition create check --window low --owner alice:ci --mode 0640 --dry-run" },
          partition_create_run },
        { "partition list",
          "",
          0,
          0,
          0,
          VERB_ADMIN,
          "List the partitions",
          NULL,
          { "svmd-ctl partition list",
            "svmd-ctl partition list --json | jq -r '.[] | select(.sessions == 0) | .name'" },
          partition_list_run },
        { "partition show",
          "NAME",
          1,
          1,
          0,
          VERB_ADMIN,
          "Show one partition: its limits and use, its sessions and its reservations",
          NULL,
          { "svmd-ctl partition show train", "svmd-ctl partition show train --json | jq .nodes" },
          partition_show_run },
        { "partition set",
          "NAME",
          1,
          1,
          COMMON_LIMITS | COMES_DOWN,
          VERB_ADMIN,
          "Change limits, owner or mode of a partition",
          "What is not named stays as it is. A limit below the present use refuses more, and takes nothing away unless "
          "there is a --deadline: until then its sessions are asked to give back, then managed pages leave and memory "
          "that may is moved to a host; with --force, sessions that still hold too much end. --dry-run shows these "
          "steps. Where sessions would have to end it asks on a terminal. Ends with 3 if something is left.",
          { "svmd-ctl partition set train --max gpu0=4G --min gpu0=1G --max host0=none",
            "svmd-ctl partition set train --max gpu0=1G --deadline 30 --dry-run" },
          partition_set_run },
        { "partition delete",
          "NAME",
          1,
          1,
          BIT(OPT_END_SESSIONS) | BIT(OPT_DROP_KEPT) | BIT(OPT_DEADLINE) | BIT(OPT_CDI_DIR) | BIT(OPT_DRY_RUN) |
                  BIT(OPT_YES),
          VERB_ADMIN | VERB_ASKS,
          "Delete a partition",
          "With --deadline, sessions are asked to give back what they have, and nobody may attach; the partition is "
          "deleted when the last one has ended, and those that are left then end. --dry-run shows who is asked for "
          "what. A CDI specification that it was created with goes, too.",
          { "svmd-ctl partition delete train", "svmd-ctl partition delete train --end-sessions --deadline 30" },
          partition_delete_run },
        { "cdi generate",
          "[NAME ...]",
          0,
          256,
          BIT(OPT_CDI_DIR) | BIT(OPT_HOOK) | BIT(OPT_DRY_RUN),
          VERB_ADMIN,
          "Write a specification with which containers get partitions as devices",
          "Without names, of all that have none of their own. A runtime that knows the Container Device Interface then "
          "takes svmd.org/partition=NAME for a device: it mounts the folder of that partition's socket, and nothing else. "
          "What svmd-ctl wrote of partitions that are gone is removed; files of others are never touched.",
          { "svmd-ctl cdi generate", "svmd-ctl cdi generate train check --dry-run | jq '.devices[].name'" },
          cdi_generate_run },
        { "cdi list",
          "",
          0,
          0,
          BIT(OPT_CDI_DIR),
          VERB_ADMIN,
          "List the devices of svmd that container runtimes are told of",
          NULL,
          { "svmd-ctl cdi list", "svmd-ctl cdi list --json | jq -r '.[] | select(.stale) | .file'" },
          cdi_list_run },
        { "cdi remove",
          "[NAME ...]",
          0,
          256,
          BIT(OPT_CDI_DIR) | BIT(OPT_STALE),
          VERB_NO_SESSION,
          "Take devices out of the specifications, and those without one away",
          "Partitions stay, and containers that run. --stale takes those whose partition is gone.",
          { "svmd-ctl cdi remove train", "svmd-ctl cdi remove --stale" },
          cdi_remove_run },
        { "session list",
          "",
          0,
          0,
          BIT(OPT_PARTITION),
          VERB_ADMIN,
          "List the connections of processes",
          NULL,
          { "svmd-ctl session list", "svmd-ctl session list --partition train --json | jq '.[].pid'" },
          session_list_run },
        { "session show",
          "ID",
          1,
          1,
          0,
          VERB_ADMIN,
          "Show one session: what it has, its grants, and use without svmd",
          "Grants are leave to execute what only the process can; those that were not acknowledged in time stay charged. "
          "Of those of which nothing was done, the last few are shown with the error. Last stands what its process has of devices without svmd, as usage --drift sees it.",
          { "svmd-ctl session show 12", "svmd-ctl session show 12 --json | jq .grants" },
          session_show_run },
        { "session kill",
          "ID",
          1,
          1,
          BIT(OPT_DRY_RUN) | BIT(OPT_YES),
          VERB_ADMIN | VERB_ASKS,
          "End a session: what it holds is released, its process goes on",
          NULL,
          { "svmd-ctl session kill 12", "svmd-ctl session kill 12 --dry-run" },
          session_kill_run },
        { "session limit",
          "ID",
          1,
          1,
          BIT(OPT_LIMIT) | BOUNDS | BIT(OPT_DRY_RUN) | COMES_DOWN,
          0,
          "Show or change limits of one session",
          "They are for its memory and for managed pages of what it reserved, beside those of its partition and its "
          "control group, and end with it. Its "
          "user may lower max and high; an administrator may do all. --min is kept free of what the partition may have "
          "on the node, so that has to have a --max there. --deadline and --force are as of 'partition set'.",
          { "svmd-ctl session limit 12", "svmd-ctl session limit 12 --max gpu0=1G --deadline 30" },
          session_limit_run },
        { "cgroup list",
          "",
          0,
          0,
          0,
          VERB_ADMIN,
          "List the control groups that have limits",
          "Charged to one is what sessions of processes in it and below it have, in all partitions: memory, leases, and "
          "managed pages of what they reserved.",
          { "svmd-ctl cgroup list", "svmd-ctl cgroup list --json | jq '.[] | .cgroup'" },
          cgroup_list_run },
        { "cgroup set",
          "PATH",
          1,
          1,
          BIT(OPT_LIMIT) | BOUNDS | BIT(OPT_DRY_RUN) | COMES_DOWN,
          VERB_ADMIN,
          "Change limits of a control group",
          "PATH is that of version 2, as behind 0:: in /proc/PID/cgroup; it need not be there yet. The limits are kept "
          "over restarts. --deadline and --force are as of 'partition set'.",
          { "svmd-ctl cgroup set /system.slice/docker.service --max gpu0=4G --high gpu0=3G",
            "svmd-ctl cgroup set /user.slice --max gpu0=1G --deadline 30 --dry-run" },
          cgroup_set_run },
        { "cgroup delete",
          "PATH",
          1,
          1,
          BIT(OPT_DRY_RUN),
          VERB_ADMIN,
          "Take all limits of a control group away",
          NULL,
          { "svmd-ctl cgroup delete /user.slice", "svmd-ctl cgroup delete /user.slice --dry-run" },
          cgroup_delete_run },
        { "reservation list",
          "",
          0,
          0,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "List the reserved ranges of addresses",
          "Who may not administer sees those of one partition: the own, or the one named.",
          { "svmd-ctl reservation list --partition train",
            "svmd-ctl reservation list --json | jq -r '.[] | .address + \" \" + (.name // \"-\")'" },
          reservation_list_run },
        { "share list",
          "",
          0,
          0,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "List what partitions share with one another",
          "That is named ranges and named memory. GUESTS is how many sessions of the partition behind WITH have it. Who may "
          "not administer sees what the own partition shares, and what others share with it.",
          { "svmd-ctl share list", "svmd-ctl share list --json | jq -r '.[] | select(.guests > 0) | .name'" },
          share_list_run },
        { "share set",
          "NAME PARTITION [r|rw]",
          2,
          3,
          BIT(OPT_PARTITION) | BIT(OPT_KIND),
          VERB_OWN,
          "Let another partition have a named range or memory, to read unless rw is given",
          "Whoever comes in through that partition's own socket, as a container does, then attaches to the owner's "
          "partition as a guest and finds it at the same address, whatever its mode says; nothing else is open to a "
          "guest. Both partitions are of one domain. For the user that the name belongs to, the partition's owner, and "
          "administrators, who say whose it is with --partition. It ends with the name, and with either partition.",
          { "svmd-ctl share set weights serve-b --partition serve-a",
            "svmd-ctl share set cache serve-b rw --kind memory" },
          share_set_run },
        { "share remove",
          "NAME PARTITION",
          2,
          2,
          BIT(OPT_PARTITION) | BIT(OPT_KIND) | BIT(OPT_DRY_RUN) | BIT(OPT_YES),
          VERB_OWN | VERB_ASKS,
          "Take back what another partition may have",
          "Guests that have it lose it at once, and are told. A process that will not hear still has the pages that it "
          "mapped; 'svmd-ctl session kill' ends it.",
          { "svmd-ctl share remove weights serve-b --partition serve-a",
            "svmd-ctl share remove cache serve-b --kind memory --dry-run" },
          share_remove_run },
        { "kept list",
          "",
          0,
          0,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "List what is kept for later sessions, with its place and its time",
          "It was asked for by its owner (svmd_keep). Who may not administer sees that of one partition: the own, or the "
          "one named.",
          { "svmd-ctl kept list --partition train",
            "svmd-ctl kept list --json | jq -r '.[] | select(.users == 0) | .name'" },
          kept_list_run },
        { "kept remove",
          "NAME",
          1,
          1,
          BIT(OPT_PARTITION) | BIT(OPT_KIND) | BIT(OPT_DRY_RUN) | BIT(OPT_YES),
          VERB_OWN | VERB_ASKS,
          "Keep a range, memory or a lease no longer",
          "Without sessions it ends at once, and its content is gone; else with its last session. For administrators, and "
          "for the user that the name belongs to.",
          { "svmd-ctl kept remove weights --partition train", "svmd-ctl kept remove cache --kind memory --yes" },
          kept_remove_run },
        { "grant list",
          "",
          0,
          0,
          BIT(OPT_PARTITION) | BIT(OPT_SESSION) | BIT(OPT_NODE),
          VERB_OWN,
          "List what processes were given leave to do on devices",
          "STATE is asked until the process says what became of it, held while what was made is there, and expired where it "
          "did not say so in time: that stays charged until it says that nothing was done, or ends. Of those that "
          "failed, with an ERROR, svmd knows the last few of each session. Who may not administer sees those of one "
          "partition: the own, or the one named.",
          { "svmd-ctl grant list --node gpu0",
            "svmd-ctl grant list --json | jq -r '.[] | select(.state == \"expired\") | .pid'" },
          grant_list_run },
        { "lease list",
          "",
          0,
          0,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "List room granted on several nodes at once, and who waits for some",
          "Asked for with svmd_admit. One that is kept has a NAME, and its partition pays while no session has it. NEEDS is "
          "what is left of it, of what was asked for, on each node. TURN counts who "
          "stands before it in line, over all partitions. Who may not administer sees those of one partition: the own, "
          "or the one named.",
          { "svmd-ctl lease list --partition train",
            "svmd-ctl lease list --json | jq -r '.[] | select(.granted | not) | .pid'" },
          lease_list_run },
        { "lease remove",
          "NAME",
          1,
          1,
          BIT(OPT_PARTITION) | BIT(OPT_DRY_RUN) | BIT(OPT_YES),
          VERB_OWN | VERB_ASKS,
          "Keep a lease no longer",
          "The same as kept remove --kind lease: without a session its room is everybody's at once, else it ends with "
          "its session.",
          { "svmd-ctl lease remove asleep --partition serve", "svmd-ctl lease remove asleep --dry-run" },
          lease_remove_run },
        { "usage",
          "",
          0,
          0,
          BIT(OPT_PARTITION) | BIT(OPT_BY) | BIT(OPT_SINCE) | BIT(OPT_UNTIL) | BIT(OPT_DRIFT),
          VERB_OWN,
          "Show who uses how much of each node, now or since a time",
          "Who may not administer sees one partition: the own, or the one named. --by adds up what everybody holds now; "
          "'none' is what no session holds. With --since it is the average, the peak, and bytes times time, by node unless "
          "--by says otherwise. --drift compares with what the kernel and drivers say.",
          { "svmd-ctl usage --by container", "svmd-ctl usage --since 7d --by user --json | jq '.rows[].byte_hours'" },
          usage_run },
        { "map",
          "[RANGE]",
          0,
          1,
          BIT(OPT_PARTITION) | BIT(OPT_WIDTH) | BIT(OPT_COUNTERS) | BIT(OPT_SVG),
          VERB_OWN,
          "Draw the address space, or which node holds each part of a range",
          "Without a RANGE, each partition is a bar of its addresses; the line below it shows only the reserved parts, "
          "larger. Of a RANGE each cell shows the node that holds most of it. Who may not administer sees one "
          "partition: the own, or the one named.",
          { "svmd-ctl map --svg map.svg", "svmd-ctl map 0x280000000000+64M" },
          map_run },
        { "explain",
          "ADDR",
          1,
          1,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "Say what lies at an address, whose it is, where it is and why",
          "ADDR may be the name of a reservation: its first address. Each hint is told with who gave it, when, and what "
          "became of it. After that come what was decided about the page lately and for what cause, what was refused or "
          "put off, and what a read and a write by the CPU and by each device would come to now: with --json in rows "
          "too, `hints', `history', `not_done' and `touches'. A restart of svmd forgets the decisions.",
          { "svmd-ctl explain 0x280000000000",
            "svmd-ctl explain index --json | jq -r '.touches[] | select(.outcome == \"fails\").node'" },
          explain_run },
        { "advice",
          "RANGE",
          1,
          1,
          BIT(OPT_PARTITION),
          VERB_OWN,
          "Say what is advised about managed pages, and whose words count",
          "Also what each node makes of it. An attribute that is not the same in all of RANGE is mixed. Of each hint it says what counts of it (=), what "
          "somebody else's word has as well (+), and what does not count: because one of higher rank says otherwise "
          "(<), or one of the same rank has since (~), or it is of no use without what else does not count (-).",
          { "svmd-ctl advice index",
            "svmd-ctl advice 0x280000000000+64M --json | jq '.hints[] | select(.wins != [])'" },
          advice_run },
        { "advise",
          "RANGE ATTRIBUTE=VALUE ...",
          2,
          16,
          BIT(OPT_PARTITION),
          VERB_ADMIN,
          "Give an administrator's hint about managed pages",
          "It counts before all others. ATTRIBUTE is preferred (a node), fallback and accessed-by (nodes with commas), granularity (a size), atomics "
          "(device, global or cpu), group (a number), or read-mostly, pinned or coarse (yes). The value 'no' is a wish "
          "that nobody's word counts, and 'default' takes back what administrators have said. It stays when the "
          "session ends.",
          { "svmd-ctl advise index preferred=gpu0 fallback=gpu1,host0", "svmd-ctl advise index pinned=default" },
          advise_run },
        { "migrate",
          "RANGE NODE",
          2,
          2,
          CHANGE_PAGES,
          VERB_ADMIN,
          "Move managed pages to a node, and wait for it",
          "What was never touched is on no node and stays so. A program's own touch may move pages on at once; 'node "
          "list' names the nodes.",
          { "svmd-ctl migrate index gpu0", "svmd-ctl migrate 0x280000000000+64M gpu0 --timeout 10" },
          migrate_run },
        { "evict",
          "RANGE",
          1,
          1,
          CHANGE_PAGES,
          VERB_ADMIN,
          "Move managed pages off the node where they are, to where policy wants them",
          NULL,
          { "svmd-ctl evict index", "svmd-ctl evict 0x280000000000+64M --dry-run" },
          evict_run },
        { "discard",
          "RANGE",
          1,
          1,
          CHANGE_PAGES | BIT(OPT_YES),
          VERB_ADMIN | VERB_ASKS,
          "Set managed pages to zero and give their memory back",
          "Every process and device sees zeroes afterwards.",
          { "svmd-ctl discard index", "svmd-ctl discard 0x280000000000-0x280000200000 --yes" },
          discard_run },
        { "revoke",
          "ADDR",
          1,
          1,
          CHANGE_PAGES | BIT(OPT_YES) | BIT(OPT_OFF),
          VERB_ADMIN | VERB_ASKS,
          "Take a managed reservation away from everyone, content kept, or give it back",
          "It is the whole reservation that contains ADDR, which may be its name. A process that uses it waits until "
          "--off, or gets SIGBUS where the reservation says so.",
          { "svmd-ctl revoke index", "svmd-ctl revoke --off index" },
          revoke_run },
        { "top",
          "",
          0,
          0,
          BIT(OPT_INTERVAL) | BIT(OPT_ONCE) | BIT(OPT_BATCH) | BIT(OPT_COUNT) | BIT(OPT_SORT) | BIT(OPT_FILTER) |
                  BIT(OPT_WIDTH),
          VERB_ADMIN,
          "Show nodes, partitions and sessions, and what moves, as it changes",
          "On a terminal, till 'q': '?' says the keys. While svmd is away the last picture stays, with how old it is. "
          "Elsewhere, and with --batch, a picture follows the other, without keys; with --json each is a line. Rates "
          "are of the time since the last look.",
          { "svmd-ctl top --interval 0.1 --sort used --count 2 --batch",
            "svmd-ctl top --once --interval 0.2 --json | jq '.nodes[].in_rate'" },
          top_run },
        { "monitor",
          "",
          0,
          0,
          BIT(OPT_PARTITION) | BIT(OPT_CAUSE) | BIT(OPT_COUNT) | BIT(OPT_TIMEOUT),
          VERB_ADMIN,
          "Show events as they happen, one a line",
          "Moves of managed pages say what moved, from where, to where and why: fault, device, prefetch, eviction, "
          "request, advice, drain, revoke or restart. Goes on until it is interrupted. With --count and --timeout, "
          "ends with 3 if fewer events came.",
          { "svmd-ctl monitor --partition train --cause fault,eviction",
            "svmd-ctl monitor --json --count 1 --timeout 30" },
          monitor_run },
        { "bugreport",
          "",
          0,
          0,
          BIT(OPT_OUTPUT) | BIT(OPT_FULL),
          VERB_NO_SESSION,
          "Pack what is to be known about svmd and this machine into one file",
          "What svmd says of itself and what it holds, a picture of it, why pages are where they are, its configuration, "
          "what the kernel has, and the last lines of the journal. Names of programs, users, partitions and the like are "
          "replaced. What cannot be had is noted in the report, and it ends with 0 all the same. It says what to check "
          "before you send it.",
          { "svmd-ctl bugreport", "svmd-ctl bugreport --output /tmp/svmd.tar.gz --json | jq '.parts[].note'" },
          bugreport_run },
        { "trace record",
          "FILE [PROGRAM [ARGUMENT ...]]",
          1,
          UINT_MAX,
          BIT(OPT_PARTITION) | BIT(OPT_REQUESTS) | BIT(OPT_SECONDS),
          VERB_ADMIN,
          "Record what is asked of managed memory",
          "Faults, what devices use, and requests, into FILE, for svmd-sim(1). With PROGRAM it is started, and recorded "
          "as long as it runs; write '--' before it. svmd writes the file: what is too fast for it is left out, and "
          "counted.",
          { "svmd-ctl trace record day.trace --partition train --seconds 60",
            "svmd-ctl trace record sort.trace -- svmd-run sort big.txt" },
          trace_record_run },
        { "policy show",
          "",
          0,
          0,
          0,
          VERB_ADMIN,
          "Show what decides where pages go, and how much may move",
          "First what the configuration says, then what administrators have set over it. What names a partition or a "
          "node goes over what means all of them (*), and of equals the last line counts. 'partition show' says what a "
          "partition comes to.",
          { "svmd-ctl policy show", "svmd-ctl policy show --json | jq '.[] | select(.set)'" },
          policy_show_run },
        { "policy set",
          "SETTING=VALUE ...",
          1,
          16,
          0,
          VERB_ADMIN,
          "Set over the configuration what decides where pages go, and how much may move",
          "In the words of svmd.conf: policy=NAME, partition-policy=PARTITION=NAME, partition-rate=PARTITION=SIZE and "
          "link-rate=NODE:NODE=SIZE, where NAME is balanced, throughput, latency or pinned, and SIZE is a second's. It "
          "counts at once, and until it is taken back or the machine starts again; what is to last is for svmd.conf "
          "and 'reload'.",
          { "svmd-ctl policy set policy=throughput",
            "svmd-ctl policy set partition-policy=train=latency link-rate=gpu0:host0=8G" },
          policy_set_run },
        { "policy unset",
          "SETTING ...",
          1,
          16,
          0,
          VERB_ADMIN,
          "Take back what 'policy set' has set",
          "SETTING is policy, partition-policy=PARTITION, partition-rate=PARTITION or link-rate=NODE:NODE. The "
          "configuration counts again.",
          { "svmd-ctl policy unset policy", "svmd-ctl policy unset link-rate=gpu0:host0" },
          policy_unset_run },
        { "reload",
          "",
          0,
          0,
          0,
          VERB_ADMIN,
          "Have svmd read its configuration again",
          "Says which options have changed, and which need a restart for that. Where something is wrong in a file, "
          "nothing changes, and it ends with 1 and with file, line and what was expected. The same as systemctl reload "
          "svmd.",
          { "svmd-ctl reload", "svmd-ctl reload --json | jq -r '.needs_restart[]'" },
          reload_run },
        { "upgrade",
          "",
          0,
          0,
          BIT(OPT_KEEPER) | BIT(OPT_BINARY) | BIT(OPT_DRY_RUN) | BIT(OPT_YES),
          VERB_ADMIN | VERB_ASKS,
          "Have svmd go on as the version that is installed now, with a pause only",
          "Sessions, memory and the process stay. The new program is tried first: it must read what this svmd wrote, and "
          "its configuration must be good and have the same nodes. Only root and svmd's own user may name another file.",
          { "svmd-ctl upgrade --keeper", "svmd-ctl upgrade --binary /opt/svmd/sbin/svmd --dry-run" },
          upgrade_run },
        { "wait",
          "CONDITION",
          1,
          8,
          BIT(OPT_TIMEOUT),
          VERB_NO_SESSION,
          "Wait until a condition holds",
          "Conditions: 'ready'; 'sessions OP N'; 'node NODE used OP SIZE'; 'partition NAME sessions OP N'; 'partition "
          "NAME exists'; 'partition NAME gone'. OP is one of = < > <= >=; quote it from the shell. It looks 50 times a "
          "second, and ends with 3 when the time is over. Sessions of svmd-ctl itself are not counted.",
          { "svmd-ctl wait ready --timeout 10", "svmd-ctl wait 'partition train sessions >= 2'" },
          wait_run },
};
const unsigned verbs_count = sizeof(verbs) / sizeof(verbs[0]);

/* How many words of the command line the verb's name takes, if they are it; else 0. */
static unsigned verb_matches(const struct verb *v, const char *const *words, unsigned count) {
        const char *space = strchr(v->name, ' ');

        if (!space)
                return count >= 1 && strcmp(words[0], v->name) == 0;
        if (count >= 2 && strncmp(words[0], v->name, (size_t)(space - v->name)) == 0 &&
            words[0][space - v->name] == '\0' && strcmp(words[1], space + 1) == 0)
                return 2;
        return 0;
}

/* The first word of a verb's name. */
static const char *verb_family(struct ctl *c, const struct verb *v) {
        char *name = ctl_copy(c, v->name);

        name[strcspn(name, " ")] = '\0';
        return name;
}

/* What follows `family` in names of verbs; "" where the family is the verb. Returns how many. */
static size_t family_members(struct ctl *c, const char *family, const char **members) {
        size_t length = strlen(family), count = 0;

        for (unsigned i = 0; i < verbs_count; i++) {
                if (strcmp(verb_family(c, &verbs[i]), family) == 0)
                        members[count++] = verbs[i].name + length + (verbs[i].name[length] == ' ');
        }
        return count;
}

static int unknown_member(struct ctl *c, const char *family, const char *word, const char **members, size_t count) {
        const char *near = word ? suggest(word, members, count) : NULL;
        const char *list = "";

        if (near)
                return ctl_fail(c, EXIT_USAGE, "unknown verb '%s %s'; did you mean '%s %s'?", family, word, family,
                                near);
        for (size_t i = 0; i < count; i++)
                list = ctl_text(c, "%s%s%s", list, i == 0 ? "" : i + 1 == count ? " or " : ", ", members[i]);
        if (word)
                return ctl_fail(c, EXIT_USAGE, "unknown verb '%s %s'; '%s' goes with %s", family, word, family, list);
        return ctl_fail(c, EXIT_USAGE, "'%s' goes with %s", family, list);
}

static int unknown_verb(struct ctl *c, const char *const *words, unsigned count) {
        const char *families[sizeof(verbs) / sizeof(verbs[0])], *members[sizeof(verbs) / sizeof(verbs[0])], *near;
        size_t members_count = family_members(c, words[0], members);

        if (members_count && count == 2 && strcmp(words[1], "--help") == 0)
                return help_all(c, words[0]);
        if (members_count)
                return unknown_member(c, words[0], count > 1 ? words[1] : NULL, members, members_count);
        for (unsigned i = 0; i < verbs_count; i++)
                families[i] = verb_family(c, &verbs[i]);
        near = suggest(words[0], families, verbs_count);
        if (near)
                return ctl_fail(c, EXIT_USAGE, "unknown verb '%s'; did you mean '%s'?", words[0], near);
        return ctl_fail(c, EXIT_USAGE, "unknown verb '%s'; 'svmd-ctl --help' names them", words[0]);
}

static int wrong_operands(struct ctl *c, const struct verb *v, const struct args *a) {
        if (a->words_count < v->least)
                return ctl_fail(c, EXIT_USAGE, "%s needs %s; see 'svmd-ctl %s --help'", v->name, v->operands, v->name);
        return ctl_fail(c, EXIT_USAGE, "'%s' is one word too many for %s; see 'svmd-ctl %s --help'", a->words[v->most],
                        v->name, v->name);
}

static void apply_common(struct ctl *c, const struct args *a) {
        c->json = a->value[OPT_JSON];
        c->color = c->color && !a->value[OPT_NO_COLOR];
        c->socket = a->value[OPT_SOCKET];
        c->runtime_dir = a->value[OPT_RUNTIME_DIR];
        c->partition = a->value[OPT_PARTITION];
}

static int run_verb(struct ctl *c, const struct verb *v, struct args *a, int argc, char **argv) {
        int r;

        if (args_parse(c, a, v, argc, argv) < 0)
                return EXIT_USAGE;
        if (a->value[OPT_HELP])
                return help_verb(c, v);
        if (a->words_count < v->least || a->words_count > v->most)
                return wrong_operands(c, v, a);
        apply_common(c, a);
        if (!(v->flags & VERB_NO_SESSION)) {
                r = reach(c, v->flags);
                if (r != EXIT_OK)
                        return r;
        }
        return v->run(c, a);
}

static int dispatch(struct ctl *c, struct args *a, int argc, char **argv) {
        const char *const *words;
        unsigned count, taken;
        int at;

        if (argc > 1 && strcmp(argv[1], "complete") == 0)
                return complete_run(c, (unsigned)argc - 2, argv + 2);
        at = args_parse(c, a, NULL, argc, argv);
        if (at < 0)
                return EXIT_USAGE;
        words = a->words;
        count = a->words_count;
        if (a->value[OPT_VERSION]) {
                fprintf(c->out, "svmd-ctl %s\n", SVMD_VERSION);
                return EXIT_OK;
        }
        for (unsigned i = 0; i < verbs_count; i++) {
                taken = verb_matches(&verbs[i], words, count);
                /* getopt passes over the word in front of the rest, as it does over a program's name. */
                if (taken)
                        return run_verb(c, &verbs[i], a, argc - at - (int)taken + 1, argv + at + taken - 1);
        }
        if (a->value[OPT_HELP] && count == 0)
                return help_all(c, NULL);
        if (count == 0)
                return ctl_fail(c, EXIT_USAGE, "what to do? 'svmd-ctl --help' names the verbs");
        return unknown_verb(c, words, count);
}

int verbs_main(int argc, char **argv, FILE *out, FILE *err) {
        struct args a = { 0 };
        struct ctl c;
        int status;

        ctl_init(&c, out, err);
        status = dispatch(&c, &a, argc, argv);
        if (fflush(out) != 0 && status == EXIT_OK)
                status = ctl_fail(&c, EXIT_REFUSED, "cannot write: %m");
        ctl_fini(&c);
        return status;
}
