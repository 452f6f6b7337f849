/*
Command master starts and supervises the daemons of the mail system.

# NAME

master - master process of the mail system

# SYNOPSIS

	master [-Ddistvw] [-c config_dir] [-e exit_time]

# DESCRIPTION

The master daemon reads master.cf(5), binds the sockets of all services, starts
the daemon of a service when its first client connects or its wakeup timer
fires, and replaces a daemon that ended. It never reads a byte of mail. It is
started by sealpost(1).

One process serves a service, with as many sessions at a time as the maxproc
field of master.cf says. A command that is not a daemon of this suite (one of
Postfix, for instance) gets a process per client instead, at most maxproc of
them.

A daemon that ended before it said that it is ready is not started again for
service_throttle_time. A daemon that was ready and was killed is replaced with
the next client, or at once when its service has a wakeup timer. So is one that
was killed (SIGKILL) while it started, unless that happens 20 times in a row. After
five short lives each start waits 0.25 seconds.

The name of a local service is a socket in the directory private or public of
the queue directory, as the private field says. A name that begins with "user/"
(user/submit, user/showq) is a socket in the directory user, which any local
user may open.

Without the privileges of root everything runs as the calling user. mail_owner,
unprivileged and chroot then have no effect, and the ports must be above 1023.

# OPTIONS

  - -c config_dir: read main.cf and master.cf in this directory instead of
    $MAIL_CONFIG or the default.
  - -d: stay in the foreground, and keep standard output and error for the
    daemons.
  - -D: run debugger_command on the master process after the start. The command
    finds its target in the variables process_name and process_id.
  - -e seconds: end after that time, for tests.
  - -i: run as process 1 of a container.
  - -s: keep standard output, for a log that goes to /dev/stdout.
  - -t: only test: the exit status is 0 when no master is running, 1 when one is.
    Nothing is printed.
  - -v: verbose logging, of the daemons too.
  - -w: wait until the system is up, at most 100 seconds, and exit with its
    status.

# SIGNALS

  - SIGHUP: read the configuration again (sealpost reload). No connection is
    refused: the sockets stay. The daemons of a service are replaced: where
    maxproc is 1 the old one ends first, elsewhere the new one starts beside the
    old one, which finishes its sessions within drain_timeout. When the new
    configuration has a mistake the old one stays in effect.
  - SIGTERM, SIGINT, SIGQUIT: end all daemons, the log daemon last, and leave.

A master that is killed (SIGKILL) leaves its daemons behind. They notice it,
finish what they have begun and leave. The next master may be started at once;
a service that may run only once waits for the end of the old one.

# CONFIGURATION PARAMETERS

  - queue_directory (/var/spool/sealpost): the working directory. Missing
    directories in it are made.
  - data_directory (/var/lib/sealpost): holds master.lock.
  - daemon_directory (/usr/libexec/sealpost): where the commands of master.cf are.
    A command may also be an absolute path.
  - process_id_directory (pid): directory of master.pid in the queue directory.
  - mail_owner (sealpost): the owner of the queue and of the sockets.
  - setgid_group (sealdrop): the group of public and maildrop.
  - inet_interfaces (all), inet_protocols (all): the addresses of services whose
    name is only a port. A change needs stop and start.
  - default_process_limit (100): what "-" in the maxproc field means.
  - service_throttle_time (60s): pause after a bad start.
  - trigger_timeout (10s): limit for waking up a service.
  - import_environment (see postconf -d): the variables that daemons get.
  - master_service_disable (empty): services that are not started: name/type or
    type; "!" in front makes an exception.
  - debugger_command (empty): the command of option -D.
  - maillog_file (empty), syslog_name (postfix): where the log goes, and the first
    half of its tags.

# ENVIRONMENT

  - MAIL_CONFIG: the configuration directory, when there is no -c.
  - NOTIFY_SOCKET: the socket of a service manager (systemd with Type=notify), which
    is told when all services listen.

# FILES

  - main.cf, master.cf: the configuration.
  - pid/master.pid: lock file with the process id, in the queue directory.
  - pid/TYPE.NAME: lock of a service that may run only once.
  - master.lock: lock file in the data directory.

# DIAGNOSTICS

Problems are logged. The exit status is 1 after a failure at the start. The end
of a daemon is logged with its process id and status; what a daemon writes to
standard error while it dies is logged line by line.

Lines of master.cf for trivial-rewrite, anvil, scache and tlsmgr are left out
with one line in the log when the program is not installed: the daemons of this
suite do that work themselves.

# SECURITY

The master daemon runs with root's privileges and reads nothing but its
configuration and 12 bytes at a time from its own daemons. It makes sockets with
the identity of mail_owner, who owns their directories.

# SEE ALSO

sealpost(1), postconf(1), master.cf(5), smtpd(8), qmgr(8), postlogd(8)
*/
package main
