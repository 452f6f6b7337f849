/*
Command postqueue lists and flushes the mail queue.

# NAME

postqueue - mail queue control

# SYNOPSIS

	postqueue [-v] [-c config_dir] -f
	postqueue [-v] [-c config_dir] -i queue_id
	postqueue [-v] [-c config_dir] -s site
	postqueue [-v] [-c config_dir] -j
	postqueue [-v] [-c config_dir] -p

# DESCRIPTION

The postqueue command does what users may ask about the mail queue. What needs
the super-user, like deleting a message, is the task of postsuper(1).

A listing comes from the showq(8) daemon, over the socket user/showq, which any
local user may open, or public/showq. When the mail system is down, the super-user
and the owner of the queue get it from the files.

# OPTIONS

  - -c config_dir: main.cf is in that directory instead of the default one.
  - -f: try to deliver all queued mail now. Doing this often makes the delivery of
    all other mail slow.
  - -i queue_id: try to deliver the deferred message with that queue id now.
  - -j: list the queue as JSON, one object and line for each message.
  - -p: list the queue in the form of mailq(1): queue id, size, arrival time,
    sender, and the recipients that still need to be delivered, with the reason
    why they were not. After the queue id stands "*" for a message that is being
    delivered, "!" for one on hold, "#" for one that is forced to expire.
  - -s site: try to deliver all mail for that site now. The site must be eligible
    for the fast flush service of Postfix; Sealpost has none.
  - -v: say on standard error what is being done.

# JSON OBJECT FORMAT

Members are strings unless said otherwise. Programs should ignore members that
they do not know.

  - queue_name: maildrop, active, incoming, deferred or hold. The queue goes on
    changing while it is listed; a message may be missed, or appear twice.
  - queue_id: the name of the queue file. It may be used again later, unless
    enable_long_queue_ids is set.
  - arrival_time: seconds since 1970, a number.
  - message_size: bytes of header and body, a number.
  - forced_expire: true or false.
  - requiretls: true, for a message whose sender asked for REQUIRETLS (RFC 8689);
    absent for all others, and when the listing comes from public/showq.
  - sender: the envelope sender.
  - recipients: an array of objects with the members orig_address (before
    aliasing, empty if not known), address, and where a reason is known
    delay_reason, bounce_reason or other_reason.

# SECURITY

The command needs no special rights: it may be installed without setgid. Then -f,
-i and -s are for the super-user and the owner of the queue, whose sockets and
files are not open to others. When it is setgid to the group of setgid_group all
users may flush, and -c and MAIL_CONFIG name only directories that
alternate_config_directories or multi_instance_directories of the default main.cf
have.

# DIAGNOSTICS

Problems are reported on standard error. The exit status is 0, 69 when the mail
system is down or the request cannot be done, or 77 when the user is not
authorized.

# ENVIRONMENT

  - MAIL_CONFIG: directory with main.cf, like -c.

# CONFIGURATION PARAMETERS

  - alternate_config_directories (empty), multi_instance_directories (empty):
    directories for -c of a command with setgid rights.
  - authorized_flush_users (static:anyone): users who may flush the queue. The
    super-user and the owner of the queue always may.
  - authorized_mailq_users (static:anyone): users who may list the queue, likewise.
  - enable_long_queue_ids (no): makes columns wide enough for long queue ids.
  - ipc_timeout (3600s): time limit for a listing.
  - queue_directory: the top of the mail queue.
  - trigger_timeout (10s): time limit for waking up a daemon.

# SEE ALSO

mailq(1), sendmail(1), showq(8), qmgr(8), postconf(5)
*/
package main
