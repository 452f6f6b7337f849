/*
Command pickup brings local submissions into the mail system.

# NAME

pickup - local mail pickup daemon

# SYNOPSIS

	pickup [generic daemon options]

# DESCRIPTION

The daemon runs under master(8) as one of two services.

As pickup it waits to be told that a file was dropped into the maildrop
directory, or scans it when its wakeup timer fires, and feeds each file to
cleanup(8). A file is removed when cleanup(8) has the message on disk, or when it
can never be accepted; otherwise it stays and is tried again.

As submit it serves the socket user/submit, the one door through which
sendmail(1) of any local user comes while the system runs, without setgid
programs. The user is who the kernel says (SO_PEERCRED), never who the stream
says. The stream is checked like that of postdrop(1), then passed to cleanup(8)
while it arrives: nothing of it is on disk before cleanup(8) writes it, and success
is said only after cleanup(8) said it.

Neither trusts its input: files must be regular, complete and have one link;
record types and attributes that a submitter must not use end the submission or
are dropped with a warning.

# CONFIGURATION PARAMETERS

  - authorized_submit_users (static:anyone): users who may submit mail.
  - content_filter (empty): filter transport for local submissions.
  - ipc_timeout (3600s): greatest time that a submitter may pause.
  - line_length_limit (2048): longest record taken from a submitter, in bytes.
  - message_size_limit (10240000): enforced by cleanup(8), in bytes.
  - smtputf8_autodetect_classes (sendmail, verify): whether sendmail is in it
    decides if the need for SMTPUTF8 is detected.

# DIAGNOSTICS

Each message is logged as QUEUEID: uid=USER from=<SENDER>.

# SECURITY

The submit service takes at most 20 submissions at a time from one user. It
starts no program and opens no file for a submitter.

# SEE ALSO

cleanup(8), sendmail(1), postdrop(1), master(8)
*/
package main
