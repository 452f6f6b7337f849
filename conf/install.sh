#!/bin/sh
# install.sh install|uninstall: what "make install" and "make uninstall" do after
# "make build". The variables come from the Makefile; DESTDIR is put in front of every
# path, for packages and tests.
#
# Programs are put in their places one by one with a rename, so that an upgrade of a
# running system finds each of them at any time. Configuration files that exist stay.
set -eu
umask 022

confdir=/etc/sealpost # compiled in: the setgid commands believe no other

# Programs for administrators and users; all others are daemons.
commands="postalias postcat postconf postdrop postfix postlog postmap postqueue postsuper posttls-finger sealpost sendmail"
# Those that also go by a name in the PATH of ordinary users.
users="mailq newaliases"
# Commands that run with the group setgid_group.
setgid="postdrop postqueue"
# The guides, and the configuration files as they were before anybody changed them.
documents="$(echo docs/*.md) CHANGELOG.md LICENSE conf/main.cf conf/master.cf"

fail() {
	echo "install: $*" >&2
	exit 1
}

# put FILE TARGET MODE [GROUP]: a copy of FILE, complete before it has its name.
put() {
	mkdir -p "$DESTDIR${2%/*}"
	cp "$1" "$DESTDIR$2.new"
	[ -z "${4:-}" ] || chgrp "$4" "$DESTDIR$2.new" # before the mode: it takes setgid away
	chmod "$3" "$DESTDIR$2.new"
	mv -f "$DESTDIR$2.new" "$DESTDIR$2"
}

# link TEXT PATH: a symbolic link.
link() {
	mkdir -p "$DESTDIR${2%/*}"
	ln -sf "$1" "$DESTDIR$2"
}

# place NAME: the directory of a program.
place() {
	case " $commands " in
	*" $1 "*) echo "$sbindir" ;;
	*) echo "$daemondir" ;;
	esac
}

# relative FROM TO: the path of a file as seen from a directory, both absolute.
relative() {
	up=
	base=$1
	while [ "${2#"$base"/}" = "$2" ]; do
		up=../$up
		base=${base%/*}
	done
	echo "$up${2#"$base"/}"
}

check() {
	for name in $PROGRAMS; do
		[ -x "bin/$name" ] || fail "there is no bin/$name: run \"make build\" first"
	done
	if [ -z "$DESTDIR" ] && [ "$(id -u)" -ne 0 ]; then
		fail "only root can install the system; set DESTDIR to install it elsewhere"
	fi
	# The commands have the names of Postfix's, and sendmail that of every mail system.
	if [ ! -e "$DESTDIR$daemondir/master" ]; then
		for name in $commands; do
			[ ! -e "$DESTDIR$sbindir/$name" ] ||
				fail "$DESTDIR$sbindir/$name belongs to another mail system: remove that first"
		done
	fi
	group=$setgid_group
	if [ "$(id -u)" -eq 0 ] && ! getent group "$group" >/dev/null; then
		[ -n "$DESTDIR" ] || fail "there is no group $group: create it and the user $mail_owner first:
    groupadd --system $group
    useradd --system --user-group --home-dir /var/spool/sealpost --no-create-home --shell /usr/sbin/nologin $mail_owner"
		group=
	fi
	# A package is made by an ordinary user, too, who is not in that group.
	[ "$(id -u)" -eq 0 ] || [ "$(id -gn)" = "$group" ] || group=
}

install_programs() {
	for name in $PROGRAMS; do
		to=$(place "$name")/$name
		case " $setgid $users " in
		*" $name "*)
			if [ -L "bin/$name" ]; then
				link "$(relative "$bindir" "$sbindir/$(readlink "bin/$name")")" "$bindir/$name"
			elif [ -n "$group" ]; then
				put "bin/$name" "$to" 2755 "$group"
			else
				put "bin/$name" "$to" 755
				echo "note: $DESTDIR$to must get: chgrp $setgid_group, then chmod 2755"
			fi
			;;
		*)
			if [ -L "bin/$name" ]; then
				link "$(readlink "bin/$name")" "$to"
			else
				put "bin/$name" "$to" 755
			fi
			;;
		esac
	done
	# The place that the file system hierarchy standard names for programs.
	link "$(relative "$prefix/lib" "$sbindir/sendmail")" "$prefix/lib/sendmail"
}

install_documents() {
	for page in docs/man/*; do
		name=${page##*/}
		to=$mandir/man${name##*.}/$name
		if [ -L "$page" ]; then
			link "$(readlink "$page")" "$to"
		else
			put "$page" "$to" 644
		fi
	done
	for text in $documents; do
		put "$text" "$docdir/${text##*/}" 644
	done
}

install_configuration() {
	[ -e "$DESTDIR$confdir/main.cf" ] || {
		put conf/main.cf "$confdir/main.cf" 644
		# Only what is not the default is written.
		set --
		[ "$sbindir" = /usr/sbin ] || set -- "$@" "command_directory=$sbindir"
		[ "$daemondir" = /usr/libexec/sealpost ] || set -- "$@" "daemon_directory=$daemondir"
		[ "$setgid_group" = sealdrop ] || set -- "$@" "setgid_group=$setgid_group"
		[ "$mail_owner" = sealpost ] || set -- "$@" "mail_owner=$mail_owner"
		[ $# -eq 0 ] || bin/postconf -c "$DESTDIR$confdir" -e "$@"
	}
	[ -e "$DESTDIR$confdir/master.cf" ] || put conf/master.cf "$confdir/master.cf" 644
	unit=$(mktemp)
	sed "s|/usr/sbin/|$sbindir/|" conf/sealpost.service >"$unit"
	put "$unit" "$unitdir/sealpost.service" 644
	rm -f "$unit"
}

# uninstall leaves the configuration, the queue and the log.
uninstall() {
	for name in $PROGRAMS; do
		rm -f "$DESTDIR$(place "$name")/$name"
	done
	for name in $users; do
		rm -f "$DESTDIR$bindir/$name"
	done
	for page in docs/man/*; do
		rm -f "$DESTDIR$mandir/man${page##*.}/${page##*/}"
	done
	for text in $documents; do
		rm -f "$DESTDIR$docdir/${text##*/}"
	done
	rm -f "$DESTDIR$prefix/lib/sendmail" "$DESTDIR$unitdir/sealpost.service"
	rmdir "$DESTDIR$daemondir" "$DESTDIR$docdir" || true # unless others put something there
}

case ${1:-} in
install)
	check
	install_programs
	install_documents
	install_configuration
	;;
uninstall) uninstall ;;
*) fail "usage: install.sh [install|uninstall]" ;;
esac
