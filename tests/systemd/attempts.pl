#!/usr/bin/perl
# What a confined program must not be able to do, tried: a line for each, "NAME allowed" or "NAME refused: WHY". Each is
# tried in a process of its own, as a filter of system calls may end it, and leaves nothing behind: calls are made with
# arguments that nobody takes. Their numbers are those of x86_64.
use strict;
use warnings;

my ($MMAP, $SCHED_SETSCHEDULER, $SETPRIORITY, $PERSONALITY, $MOUNT, $SETHOSTNAME, $INIT_MODULE, $CLOCK_SETTIME, $SYSLOG) =
    (9, 144, 141, 135, 165, 170, 175, 227, 103);
my ($UNSHARE, $PERF_EVENT_OPEN, $BPF, $REBOOT, $KEXEC_LOAD, $SETNS, $ACCT) = (272, 298, 321, 169, 246, 308, 163);

# A call that fails for its arguments alone was let through.
sub call {
    my ($number, @args) = @_;
    $! = 0;
    return 1 if syscall($number, @args) >= 0;
    return $!{EINVAL} || $!{EFAULT} || $!{EBADF} || $!{ENOENT};
}

sub writes {
    my ($path) = @_;
    my $is_new = !-e $path;
    open(my $file, '>>', $path) or return 0;
    unlink($path) if $is_new;
    return 1;
}

my %tries = (
    'write to /usr' => sub { writes('/usr/attempt') },
    'write to /etc' => sub { writes('/etc/attempt') },
    'write to /var/lib' => sub { writes('/var/lib/attempt') },
    'see /home' => sub { opendir(my $d, '/home') },
    'see /root' => sub { opendir(my $d, '/root') },
    'see files of others in /tmp' => sub { -e '/tmp/attempt' },
    'write kernel settings' => sub { writes('/proc/sys/kernel/core_pattern') },
    'write to control groups' => sub { writes('/sys/fs/cgroup/cgroup.procs') },
    'open a network socket' => sub { socket(my $s, 2, 1, 0) },
    'open a netlink socket' => sub { socket(my $s, 16, 3, 0) },
    'have memory that is written and executed' => sub { call($MMAP, 0, 4096, 7, 0x22, -1, 0) },
    'make a user namespace' => sub { call($UNSHARE, 0x10000000) },
    'make a mount namespace' => sub { call($UNSHARE, 0x00020000) },
    'enter a namespace' => sub { call($SETNS, -1, 0) },
    'mount' => sub { call($MOUNT, 'none', '/nowhere/attempt', 'tmpfs', 0, 0) },
    'change its personality' => sub { call($PERSONALITY, 8) },
    'be scheduled in real time' => sub { call($SCHED_SETSCHEDULER, 0, 1, pack('i', 1)) },
    'change priorities' => sub { call($SETPRIORITY, 0, 0, 5) },
    'make a set-uid file' => sub {
        my $path = "/tmp/attempt-$$";
        open(my $file, '>', $path) or return 0;
        my $done = chmod(04755, $path);
        unlink($path);
        return $done;
    },
    'rename the machine' => sub { call($SETHOSTNAME, 'attempt', 9999) },
    'load a module' => sub { call($INIT_MODULE, 0, 0, '') },
    'set the clock' => sub { call($CLOCK_SETTIME, 99, 0) },
    'read the log of the kernel' => sub { call($SYSLOG, 3, ' ' x 16, 16) },
    'count events of the processor' => sub { call($PERF_EVENT_OPEN, 0, 0, -1, -1, 0) },
    'load a program of BPF' => sub { call($BPF, 99, 0, 0) },
    'restart the machine' => sub { call($REBOOT, 0, 0, 0, 0) },
    'load another kernel' => sub { call($KEXEC_LOAD, 0, 99, 0, 0) },
    'account processes' => sub { call($ACCT, '/nowhere/attempt') },
    'open memory of the machine' => sub { open(my $file, '<', '/dev/mem') },
    'gain rights by a program' => sub {
        open(my $file, '<', '/proc/self/status');
        return !grep { /^NoNewPrivs:\s*1/ } <$file>;
    },
    'make files that others read' => sub { umask() != 077 },
);

$| = 1;
for my $name (sort keys %tries) {
    my $pid = fork();
    if (!$pid) {
        my $done = $tries{$name}->();
        exit($done ? 0 : 1);
    }
    waitpid($pid, 0);
    print "$name ", $? == 0 ? 'allowed' : $? & 127 ? 'refused: ended by signal ' . ($? & 127) : 'refused', "\n";
}
