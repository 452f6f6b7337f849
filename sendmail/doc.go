/*
Command sendmail is the interface through which programs send mail.

# NAME

sendmail, mailq, newaliases - mail submission, queue listing, alias tables

# SYNOPSIS

	sendmail [option ...] [recipient ...]

	mailq
	sendmail -bp

	newaliases [file ...]
	sendmail -bi

# DESCRIPTION

The sendmail command has the options of the program whose name it took over. By
default it reads a message from standard input, until the end or until a line
that has only a dot, and hands it to the mail system.

While the system runs, the message goes through the socket user/submit and the
command ends when the message is in the queue. When the socket does not answer,
it goes through postdrop(1) into the maildrop directory, where it waits for the
system to start.

As mailq, or with -bp, the command lists the mail queue.

As newaliases, or with -bi or -I, the command has postalias(1) build the alias tables
that are named on the command line or with -oA, or else those of alias_database.

# OPTIONS

  - -Am, -Ac: ignored.
  - -B body_type: 7BIT or 8BITMIME, the type of the message body.
  - -bd, -bl: start the mail system, like "sealpost start".
  - -bi, -I: build alias tables, like newaliases. -oAfile: of this file.
  - -bm: read mail from standard input; the default.
  - -bp: list the mail queue, like mailq.
  - -bs: speak SMTP on standard input and output.
  - -bv: deliver nothing, send a report about each recipient address instead.
  - -C file, -C dir: the path of main.cf or of its directory.
  - -F full_name: the sender's full name, for a message without From: header. The
    default is the NAME environment variable, or the name in the password file.
  - -f sender, -r sender: the envelope sender address.
  - -G: the message is relayed, not new: addresses are not completed with the local
    domain.
  - -i, -oi: a line with only a dot does not end the message.
  - -N dsn: when to send notifications: never, or a list of success, failure, delay.
  - -O option=value: requiretls=yes asks for REQUIRETLS, smtputf8=yes for SMTPUTF8.
    Other options are ignored.
  - -q: try to deliver all mail in the queue now. An interval after it is ignored.
  - -qIqueueid: try to deliver one message now.
  - -R return: what a notification returns: hdrs or full.
  - -t: take recipients from the To:, Cc: and Bcc: headers, or from their Resent-
    forms if there are any, besides those on the command line.
  - -V envid: envelope id for notifications.
  - -v: send a report about the first delivery attempt. Twice: verbose logging.
  - -XV, -XVxy: variable envelope return path, with the delimiters x and y.
  - -h, -L, -m, -n, -U, -X, -o and others of that program: ignored.

# DIAGNOSTICS

Problems go to standard error. The exit status is 0 when the message is in the
mail system, 64 (EX_USAGE) for wrong options, 65 (EX_DATAERR) for a message that
cannot be accepted, 69 (EX_UNAVAILABLE) when the mail system cannot be reached in
any way, 75 (EX_TEMPFAIL) when trying again later may help, and 77 (EX_NOPERM) for
a user who may not submit mail.

# SECURITY

The command has no privileges of its own.

# ENVIRONMENT

  - MAIL_CONFIG: the directory of main.cf.
  - NAME: the sender's full name.

# CONFIGURATION PARAMETERS

  - alias_database ($default_database_type:/etc/aliases): what newaliases builds.
  - authorized_submit_users (static:anyone): users who may submit mail.
  - command_directory, daemon_directory: where the programs are that it runs.
  - default_verp_delimiters (+=): for -XV.
  - queue_directory: where the submit socket is.
  - sendmail_fix_line_endings (always): CR LF at the end of a line becomes LF:
    always, never, or strict (only if the first line ends so).

# SEE ALSO

postqueue(1), postdrop(1), pickup(8), sealpost(1), postconf(5)
*/
package main
