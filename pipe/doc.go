/*
Command pipe is the delivery agent that hands messages to other programs.

# NAME

pipe - delivery to an external command

# SYNOPSIS

	pipe [generic daemon options] attribute=value ... argv=command argument ...

# DESCRIPTION

The pipe daemon receives delivery requests from qmgr(8). For each it runs a
command, which gets the message on its standard input and says with its exit
status what became of it. The command is named in master.cf(5):

	maildrop  unix  -  n  n  -  -  pipe flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}

A request may have several recipients of the same destination; they share one run
of the command and its outcome. For a command that takes one recipient at a time
set in main.cf

	maildrop_destination_recipient_limit = 1

where maildrop is the name of the service. Flags D and O need it: they put a
recipient into the message.

# COMMAND ATTRIBUTES

They follow the options of the daemon in master.cf. User and argv are required,
and argv is the last.

  - argv=command argument ...: the program and its arguments, with macros. It is
    run as it stands: no shell reads it. A program without "/" is sought in
    /usr/bin and /bin. An argument with white space is put in { and }.
  - chroot=directory: becomes the command's root directory, before its user and
    its working directory are set.
  - directory=directory: the working directory, entered as the command's user.
    Without it: the queue directory.
  - eol=text (\n): what lines of the message end with. The escapes of C are known:
    \a \b \f \n \r \t \v \\ and octal numbers.
  - flags=BDFORXhqu.>: see below.
  - null_sender=text (MAILER-DAEMON): stands for the empty sender address in
    ${sender} and in the lines that flags F and R make. It may be empty, which is
    right for content filters that submit the message again.
  - size=bytes: larger messages are returned to the sender.
  - user=name, user=name:group: who the command runs as. The group is that of the
    user unless one is named, and the command has no other. Root and the owner of
    the mail system are refused, and so are their groups. Where the mail system
    itself runs without root, it must be the user who runs it.

# FLAGS

  - B: an empty line after the message.
  - D: a header "Delivered-To: recipient" before it. A message that has one
    already, with the same address in upper or lower case, goes round in circles:
    it is returned.
  - F: a line "From sender date" before the message, as mailbox files have it.
  - O: a header "X-Original-To: recipient" with the address as it was before
    aliases and the like were applied.
  - R: a header "Return-Path: <sender>".
  - X: the command makes the final delivery: a success is reported to the sender
    as "delivered", not "relayed".
  - h: the domain in ${recipient}, ${original_recipient}, ${domain} and ${nexthop}
    is in lower case.
  - u: the local part in ${recipient}, ${original_recipient}, ${mailbox}, ${user}
    and ${extension} is in lower case.
  - q: the local part in ${sender}, ${recipient} and ${original_recipient} is
    quoted where RFC 5322 says so, as on the command line of sendmail(1).
  - . (a dot): lines that begin with "." get another one.
  - >: lines that begin with "From " get a ">".

# MACROS

In argv, ${name}, $(name) and $name stand for text of the delivery request, and $$
for one $. An argument with one of the macros marked "each" becomes as many
arguments as there are recipients. An argument that comes out empty is passed as
an empty argument.

  - client_address, client_helo, client_hostname, client_port, client_protocol:
    who the message came from, and how; empty for mail of local users.
  - domain (each): the recipient's domain.
  - envid: the envelope identifier that the sender gave (RFC 3461).
  - extension (each): the part of the local part that recipient_delimiter cuts off.
  - mailbox (each): the whole local part.
  - nexthop: the next hop of the transport.
  - original_recipient (each): the address before aliases were applied.
  - queue_id: the queue id.
  - recipient (each): the address.
  - sasl_method, sasl_sender, sasl_username: how and as whom the client
    authenticated.
  - sender: the envelope sender.
  - size: the message size in bytes, about.
  - user (each): the local part without its extension.

An address may begin with "-" as far as a command is concerned; qmgr(8) refuses
such recipients unless allow_min_user is set, and "--" before ${recipient} makes
sure. ${sender} may be empty: give it an argument of its own,

	argv=/usr/lib/filter -f ${sender} -- ${recipient}

because "-f${sender}" would take the next argument for the address.

# THE COMMAND'S SURROUNDINGS

The command leads a process group and has the descriptors 0, 1 and 2 only. Its
environment is PATH=/usr/bin:/bin and the variables of export_environment. It may
end without reading the message to its end. A message that cannot be read to its
end is not delivered: the command is killed while it waits for more.

After TRANSPORT_time_limit, which is command_time_limit unless it is set for this
service, the command and its process group are killed.

# REQUIRETLS

A request for REQUIRETLS (RFC 8689) ends where a message is handed to a command:
the command is told nothing but what is in the message. There cleanup(8) has put
the header Require-TLS-ESMTP, so the request lives again when the command submits
the message to this mail system or to another that knows the header. See the guide
to filters.

# DIAGNOSTICS

Exit status 0 means that all recipients were served. Others have the meaning that
sysexits.h gives them, for example

  - 65: data format error, 5.6.0.
  - 67: user unknown, 5.1.1.
  - 69: service unavailable, 5.3.0.
  - 75: temporary failure, 4.3.0: the message is tried again.
  - 77: permission denied, 5.7.0.

An unknown status returns the message with 5.3.0, and so does the time limit. A
command that died from a signal is tried again. Output that begins with an
enhanced status code of class 4 or 5 says what happened itself, whatever the
status was:

	4.2.1 mailbox is busy

The first 4096 bytes of what a failing command prints, on either output, are
logged and told to the sender; of a successful one, 100 bytes are logged.

A command that cannot be started leaves the message in the queue. So do attributes
that make no sense, and users that do not exist: the log names the service and what is
wrong with it, and its mail waits with 4.3.5.

# CONFIGURATION PARAMETERS

  - command_time_limit (1000s), TRANSPORT_time_limit ($command_time_limit): time
    limit for the command; TRANSPORT is the name of the service.
  - default_destination_concurrency_limit (20),
    TRANSPORT_destination_concurrency_limit: how many commands run at a time for
    one next hop, for qmgr(8). The maxproc column of master.cf limits them for the
    service.
  - default_destination_recipient_limit (50),
    TRANSPORT_destination_recipient_limit: recipients of one request, for qmgr(8).
  - export_environment (TZ MAIL_CONFIG LANG): variables that commands get; an
    entry NAME=VALUE sets one.
  - mail_owner (sealpost): the user that commands must not run as.
  - pipe_delivery_status_filter ($default_delivery_status_filter): tables that
    change status code and text of an outcome.
  - recipient_delimiter (empty): what an address extension begins with.

# SECURITY

The daemon needs root to change to the command's user, and must not run
unprivileged. No part of a message is read by a shell, unless the command is one.

# SEE ALSO

qmgr(8), bounce(8), master(8), sendmail(1), master.cf(5), postconf(5)
*/
package main
