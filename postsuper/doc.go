/*
Command postsuper is the superintendent of the mail queue.

# NAME

postsuper - maintenance of the mail queue

# SYNOPSIS

	postsuper [-psSv] [-c config_dir] [-d queue_id] [-e queue_id] [-f queue_id]
	          [-h queue_id] [-H queue_id] [-r queue_id] [queue ...]

# DESCRIPTION

The postsuper command deletes, holds, releases, requeues and expires messages, and
keeps the queue on disk in order. It is for the super-user; what other users may ask
about the queue is the task of postqueue(1).

Without options it does what -p and -s say, on all queues.

It can be used while the mail system runs. A message that moves between queues at
that moment is looked for twice.

# OPTIONS

Options that name a message can be repeated and are done in their order, after -p, -s
and -S. Instead of a queue id, "-" reads queue ids from standard input, one a line,
and the word ALL, in upper case, means all messages. Arguments restrict everything
to these queues: maildrop, incoming, active, deferred, hold, and for -p, -s and -S
also bounce, defer, trace, flush.

  - -c config_dir: main.cf is in that directory instead of the default one.

  - -d queue_id: delete the message, and what bounce(8) noted about it, from the
    queues maildrop, incoming, active, deferred and hold.

  - -e queue_id: expire the message in incoming, active, deferred or hold: the next
    time that qmgr(8) takes it up it is returned to its sender. The reason is that of
    the last attempt to deliver it, or "message is administratively expired". A
    message on hold is not taken up.

  - -f queue_id: like -e, and a message on hold is released.

  - -h queue_id: put the message in incoming, active or deferred on hold. It is not
    delivered and does not expire until it is released.

  - -H queue_id: release the message from hold: it is moved to the deferred queue.
    After a long time use -r instead, lest it expires at once.

  - -p: purge. Files that were never completed because their writer was killed go
    when they are older than 7 days, records of bounce(8) about messages that are not
    there any more when they are older than an hour, and what is not a file.

  - -r queue_id: requeue the message: from incoming, active, deferred or hold it is
    moved to maildrop, from where pickup(8) and cleanup(8) copy it into a new queue
    file. Addresses are rewritten and looked up again, header and body checks and
    content_filter apply again, milters do not. The time in the queue begins anew.
    What the sender asked for stays: a request for REQUIRETLS (RFC 8689) as well as
    delivery notifications.

  - -s: check the structure, and repair it. Files whose name does not match their
    inode number, after the queue was copied or restored, get a name that does; files
    that are not where hash_queue_names and hash_queue_depth put them are moved, and
    subdirectories that are not needed any more are removed. With
    enable_long_queue_ids = no, long names become short ones. The records of bounce(8)
    go along. While the mail system runs, messages in active and maildrop keep their
    names.

  - -S: like -s, and long names must match the inode number as well.

  - -v: say what is done; more of them say more.

"sealpost start" and "sealpost reload" do what -p and -s say.

# EXAMPLES

To delete all mail with the one recipient user@example.com:

	postqueue -j |
	    jq -r 'select([.recipients[].address] == ["user@example.com"]) | .queue_id' |
	    postsuper -d -

# SECURITY

Files are worked on with the identity of mail_owner: who has taken over a daemon
cannot lead root to other files by way of the queue.

A mail system that runs without the privileges of root is under the superintendence
of the user who owns its queue_directory.

# DIAGNOSTICS

What was done is written to standard error and to the mail log: a line for each
message that was named, and the number of messages for each option. The exit status
is 0, or 1 when something could not be done. A queue id that no message has is no
error.

"QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS" means that queue ids in
earlier log lines are not those of now.

# ENVIRONMENT

  - MAIL_CONFIG: directory with main.cf, like -c.

# BUGS

Without enable_long_queue_ids queue ids are used again. A message that leaves the queue
after its id was looked up, and a new one that gets this id before the command acts,
can be confused; the chance is small.

A message that is being delivered while it is requeued can arrive twice.

Unlike Postfix's, "-h ALL", "-r ALL" and "-d ALL" leave files alone that are still
being written, whose senders were not told yet that the message was accepted.

# CONFIGURATION PARAMETERS

  - enable_long_queue_ids (no): long names for queue files.
  - hash_queue_depth (1), hash_queue_names (deferred, defer): where queue files are.
  - mail_owner (sealpost): whose the queue is.
  - queue_directory (/var/spool/sealpost): the top of the mail queue.
  - syslog_name (postfix), maillog_file (empty): the log.

# SEE ALSO

postqueue(1), postcat(1), sealpost(1), qmgr(8), pickup(8), bounce(8), postconf(5)
*/
package main
