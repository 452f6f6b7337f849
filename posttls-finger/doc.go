/*
Command posttls-finger shows what smtp(8) would make of the TLS of a destination.

# NAME

posttls-finger - Probe the TLS properties of an ESMTP or LMTP server

# SYNOPSIS

	posttls-finger [options] [inet:]domain[:port] [match ...]
	posttls-finger -S [options] unix:pathname [match ...]

# DESCRIPTION

The program looks up the hosts of a destination as smtp(8) does, connects to each
of them in order, makes a TLS handshake, and prints what it found: whether each
lookup was authenticated with DNSSEC, the TLSA records, the TLS level in effect and
why, the certificates, what matched, and the verdict: whether mail would be sent.
It runs the code of smtp(8) and sends no mail.

Parameters are those of main.cf; options override them. Policy tables are not
consulted: the level is that of -l. Without -l it is dane, and secure where there
are no TLSA records.

Options:

	-a family
	    Address family to try first: ipv4, ipv6, any.
	-A file
	    A file with trust anchors, in place of CA files. May be repeated.
	-c
	    Print only what concerns TLS, not the conversation.
	-C
	    Print the server's certificates in PEM form.
	-d algorithm
	    The digest of fingerprints, in place of smtp_tls_fingerprint_digest.
	-f
	    Look for TLSA records even when the addresses of a host are unsigned.
	-F file, -P directory
	    CA certificates. Without them nobody is trusted.
	-g grade
	    The weakest cipher grade.
	-h methods
	    How addresses are looked up: dns, native.
	-H files
	    Files with key and certificates to show to the server. May be repeated.
	-k file, -K file
	    Certificate and key to show to the server.
	-l level
	    The TLS level: none, may, encrypt, fingerprint, verify, secure, dane,
	    dane-only.
	-L words
	    What to print about TLS: 0 or none, 1, routine or summary, 2 or debug,
	    peercert, certmatch. The default is routine,certmatch.
	-m count
	    With -r, how often to connect again at most. The default is 5.
	-M policy
	    What an MX lookup without DNSSEC means at level dane: may, encrypt, dane.
	-o name=value
	    Override a parameter of main.cf. May be repeated.
	-p protocols
	    TLS versions, as in smtp_tls_mandatory_protocols.
	-r seconds
	    Connect again after this time, and say whether the session was resumed.
	-s name
	    The name to send in the handshake (SNI).
	-S
	    Speak LMTP.
	-t seconds
	    Time limit for connecting and for the greeting.
	-T seconds
	    Time limit for EHLO, STARTTLS, the handshake, and QUIT.
	-v
	    Verbose output.
	-w
	    TLS from the first byte (port 465).

The words after the destination are, at level fingerprint, fingerprints; at levels
verify and secure, names that the certificate may have.

# EXIT STATUS

0 when each host would get mail, 1 when one would not or was not reached, 69 when
nothing could be tried.

# COMPATIBILITY

Postfix's program stops at the first host that answers; this one tries all, since
each may be the one that gets the mail. The option -X (tlsproxy) does not exist.

# SEE ALSO

smtp(8), postconf(5)
*/
package main
