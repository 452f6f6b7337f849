/*
Command virtual is the delivery agent for virtual mailbox domains.

# NAME

virtual - virtual domain mail delivery agent

# SYNOPSIS

	virtual [generic daemon options]

# DESCRIPTION

The virtual daemon delivers mail for the domains of virtual_mailbox_domains. It
finds each recipient's mailbox with a table lookup of the full address; there
need not be a system account. It runs under master(8) and receives delivery
requests from qmgr(8). It only delivers: forwarding belongs into
virtual_alias_maps.

# MAILBOX LOCATION

The path of a mailbox is $virtual_mailbox_base/ followed by the value that
virtual_mailbox_maps has for the recipient. The tables are asked for

  - the full address, user+extension@domain;
  - the address without its extension, user@domain;
  - @domain.

Pattern tables (regexp, cidr) are asked for the full address only. A path that
begins or contains a ".." element is refused: table values are not always
written by the administrator.

# MAILDIR FORMAT

When the path ends in "/", the message becomes a file of its own in the Maildir
of that name, which is made when it is missing. The file and its directory entry
are on disk before the recipient is marked done.

# MAILBOX FORMAT

Otherwise the message is appended to a file in mbox format, under the locks of
virtual_mailbox_lock. A line "From sender date" is put before the message, an
empty line after it, and ">" before lines that begin with "From ". When anything
fails the file is cut back to its old length.

In both formats the message gets a Return-Path:, an X-Original-To: and a
Delivered-To: header.

# MAILBOX OWNERSHIP

virtual_uid_maps and virtual_gid_maps give the numeric user and group, looked up
like the mailbox. A number below virtual_minimum_uid is refused. The daemon itself
keeps root privileges; a message is written by a process that has dropped to the
mailbox's user for good. Without root all mail is written as the user who runs
the mail system, and the two tables are not used.

# CONFIGURATION PARAMETERS

  - virtual_mailbox_base (empty): directory in front of every mailbox path.
  - virtual_mailbox_domains ($virtual_mailbox_maps): domains delivered here.
  - virtual_mailbox_maps (empty): tables from recipient to mailbox path.
  - virtual_uid_maps, virtual_gid_maps (empty): tables with the mailbox owner.
  - virtual_minimum_uid (100): lowest user id accepted from virtual_uid_maps.
  - virtual_mailbox_lock (see postconf -d): locks for mbox files: fcntl, flock, dotlock.
  - virtual_mailbox_limit (51200000): greatest size in bytes of an mbox file or of
    one Maildir message; 0 for no limit.
  - virtual_delivery_status_filter ($default_delivery_status_filter): tables that
    change status code and text of an outcome.
  - deliver_lock_attempts (20), deliver_lock_delay (1s): how often, and how long
    apart, a locked mbox file is tried.

# DIAGNOSTICS

Mail is returned when the recipient has no mailbox (5.1.1) or is over quota or
over virtual_mailbox_limit (5.2.2). In all other cases it stays in the queue, the
log says why, and it is tried again.

# SECURITY

Mailbox files are never reached through a symbolic link in the last place of the
path, and must be regular files with one link. The daemon must not run chrooted.

# SEE ALSO

qmgr(8), bounce(8), master(8), postconf(5)
*/
package main
