/*
Command sealpost controls the mail system. It also goes by the name postfix.

# NAME

sealpost, postfix - control the mail system

# SYNOPSIS

	sealpost [-Dv] [-c config_dir] command

# DESCRIPTION

The command starts, stops and looks at one instance of the mail system: the one
whose configuration directory is given with -c or in MAIL_CONFIG, or the default
one. What it does is written to the mail log and to standard error, in the words
of Postfix, which log readers know.

  - check: make missing directories and report wrong owners and modes, mistakes
    in main.cf and master.cf, parameters that are set but have no effect, missing
    programs, and which DNS servers are believed about DNSSEC. The exit status is
    1 when the system would not start.

  - start: check what would keep the system from running, tidy up what a crash or a
    restore may have left in the queue (as "postsuper -p -s" does), start master(8)
    and wait until it is up.

  - start-fg: like start, but become the master process in the foreground; as
    process 1 of a container in its init mode. For service supervisors.

  - stop: end the system. Daemons have 3 seconds to leave; what is still there
    after 5 seconds is killed.

  - abort: like stop, without waiting.

  - drain: end master alone. The daemons take no new work, finish what they have
    begun and leave.

  - reload: check the configuration, then make it effective. No connection is
    refused and no session without need interrupted.

  - flush: attempt to deliver every deferred message now.

  - status: tell whether the system runs (exit status 0) or not (1), and what each
    daemon is doing: process id, sessions, counters.

  - verbose SERVICE LEVEL: change how much one running service logs, for example
    "sealpost verbose cleanup 1"; 0 is quiet. SERVICE is a name or name/type as in
    master.cf, or the name of a program, as "sealpost status" shows both. It lasts
    until the service is replaced.

  - logrotate: rename maillog_file with the suffix maillog_file_rotate_suffix,
    begin a new one, and compress the old one with maillog_file_compressor.

  - survey [-j] [LOGFILE ...]: read mail logs, also compressed ones, or standard input, and
    print for each domain what became of messages whose senders asked for REQUIRETLS:
    delivered as asked (requiretls), without a certificate that matches (nocertmatch),
    without an MX record that is authentic (nosecuremx), to a server without REQUIRETLS
    (none), without TLS (nostarttls), or not delivered, and why. Each attempt counts, and
    what probes (sendmail -bv) found as if it had been delivered.
    Logs of Postfix 3.12 are read too. -j: as JSON.

# OPTIONS

  - -c config_dir: the configuration directory.
  - -D: with start, run debugger_command on master.
  - -v: verbose logging; more of them log more.

# CONFIGURATION PARAMETERS

  - queue_directory (/var/spool/sealpost), data_directory (/var/lib/sealpost),
    daemon_directory (/usr/libexec/sealpost), command_directory (/usr/sbin): where
    things are.
  - mail_owner (sealpost), setgid_group (sealdrop): who owns them.
  - hash_queue_names (deferred, defer), hash_queue_depth (1): after a change, start
    and reload move queue files to their new places.
  - maillog_file (empty), maillog_file_rotate_suffix (%Y%m%d-%H%M%S),
    maillog_file_compressor (gzip): the log.
  - dns_servers (empty), dns_servers_authentic (no): reported by check.

# ENVIRONMENT

  - MAIL_CONFIG: the configuration directory, when there is no -c.

# DIAGNOSTICS

The exit status is 0 when the command did what it was asked to do, else 1.

# SECURITY

The command needs the privileges of root for a system that runs with them. A
system that was started without root is controlled by the user who started it,
or by root; for "reload" root then steps down to that user.

# SEE ALSO

master(8), postconf(1), postqueue(1), postsuper(1), main.cf(5), master.cf(5)
*/
package main
