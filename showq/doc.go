/*
Command showq lists the mail queue.

# NAME

showq - list the mail queue

# SYNOPSIS

	showq [generic daemon options]

# DESCRIPTION

The showq daemon reports what is in the mail queue to whoever connects: mailq(1)
and postqueue(1). It shows, in this order, the queues maildrop, active, incoming,
deferred and hold, and of each message its size, arrival time, sender and the
recipients that were not delivered yet, those with a known reason first.

It serves two sockets with the same program. At public/showq, a socket of the
mail system's own commands, the protocol is Postfix's. The name user/showq in
master.cf is a socket that any local user may open: there each entry also says
whether the sender asked for REQUIRETLS.

The queue goes on changing while it is listed: a message that moves from one queue
to another at that time may be missed, or appear twice.

# SECURITY

The daemon reads; it changes nothing, and it takes no input from its clients. It
can run with fixed low privilege. Addresses and reasons are made printable.

At user/showq every local user sees who writes to whom. To keep that from them,
remove the line of user/showq from master.cf; postqueue(1) then uses
public/showq, which needs the right to open it. authorized_mailq_users is looked
at by the command and keeps only honest users away.

# DIAGNOSTICS

Problems are logged to syslogd(8) or postlogd(8): queue files that are damaged or
are not regular files, with their names.

# CONFIGURATION PARAMETERS

  - duplicate_filter_limit (1000): the number of addresses remembered by the filter
    that shows each recipient of a message once; 0 turns it off.
  - empty_address_recipient (MAILER-DAEMON): what stands for the null address.
  - hash_queue_depth (1): levels of subdirectories of hashed queues.
  - hash_queue_names (deferred, defer): queues with subdirectories.
  - ipc_timeout (3600s): time limit for a client that does not read.

# SEE ALSO

postqueue(1), mailq(1), cleanup(8), qmgr(8), master(8), postconf(5)
*/
package main
