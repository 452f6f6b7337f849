package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"sealpost/lib/command"
	"sealpost/lib/dbclient/getent"
	"sealpost/lib/table"
)

// attributes are the command attributes of a service in master.cf.
type attributes struct {
	argv        []argument
	command     string // argv[0], for messages
	user, group string
	chroot, dir string
	eol         string
	flags       flags
	nullSender  string
	sizeLimit   int64 // size=; 0: none
}

// flags are those of flags=BDFORXhqu.>
type flags struct {
	blankLine, deliveredTo, fromLine, originalTo, returnPath, final bool // B D F O R X
	foldHost, quote, foldUser                                       bool // h q u
	dots, quoteFrom                                                 bool // . >
}

func (f *flags) set(letters string) error {
	byLetter := map[rune]*bool{
		'B': &f.blankLine, 'D': &f.deliveredTo, 'F': &f.fromLine, 'O': &f.originalTo, 'R': &f.returnPath, 'X': &f.final,
		'h': &f.foldHost, 'q': &f.quote, 'u': &f.foldUser, '.': &f.dots, '>': &f.quoteFrom,
	}
	for _, letter := range letters {
		flag, ok := byLetter[letter]
		if !ok {
			return fmt.Errorf("unknown flag %q in flags=%s; there are BDFORXhqu.>", letter, letters)
		}
		*flag = true
	}
	return nil
}

// parseAttributes reads name=value words; argv= is the last, and takes all words
// that follow it.
func parseAttributes(words []string) (*attributes, error) {
	a := &attributes{eol: "\n", nullSender: "MAILER-DAEMON"}
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("unknown attribute %q; name=value was expected", word)
		}
		if name == "argv" {
			return a, a.setArgv(append([]string{value}, words[i+1:]...))
		}
		if err := a.set(name, value); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("missing argv= command-line attribute")
}

func (a *attributes) set(name, value string) error {
	switch name {
	case "user":
		a.user, a.group, _ = strings.Cut(value, ":")
	case "chroot":
		a.chroot = value
	case "directory":
		a.dir = value
	case "eol":
		a.eol = unescape(value)
	case "flags":
		return a.flags.set(value)
	case "null_sender":
		a.nullSender = value
	case "size":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("bad value size=%s; a number of bytes was expected", value)
		}
		a.sizeLimit = n
	default:
		return fmt.Errorf("unknown attribute name: %s=%s", name, value)
	}
	return nil
}

func (a *attributes) setArgv(words []string) error {
	if words[0] == "" {
		return errors.New("argv= names no command; there is no white space after the =")
	}
	if a.user == "" {
		return errors.New("missing user= command-line attribute")
	}
	for _, word := range words {
		arg, err := parseArgument(word)
		if err != nil {
			return fmt.Errorf("argument %q: %w", word, err)
		}
		a.argv = append(a.argv, arg)
	}
	a.command = words[0]
	return nil
}

// unescape reads the escapes of C: \a \b \f \n \r \t \v \\ and up to three octal
// digits. A backslash before anything else is dropped.
func unescape(s string) string {
	named := map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11}
	var out []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			out = append(out, c)
			continue
		}
		i++
		switch c = s[i]; {
		case named[c] != 0:
			out = append(out, named[c])
		case '0' <= c && c <= '7':
			n := 0
			for end := min(i+3, len(s)); i < end && '0' <= s[i] && s[i] <= '7'; i++ {
				n = n*8 + int(s[i]-'0')
			}
			i--
			out = append(out, byte(n))
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// accounts finds the numbers of users and groups.
type accounts struct {
	user  func(name string) (command.ID, error)
	group func(name string) (int, error)
}

// credentials are the user and group that the command runs as: never those of
// root or of the owner of the mail system, who could do more than the mail
// system means to allow. Without root there is no choice: it is the user who runs
// the mail system, who must be the one that user= names (nil is returned).
func (a *attributes) credentials(sys accounts, mailOwner string, self command.ID) (*command.ID, error) {
	id, err := sys.user(a.user)
	if err != nil {
		return nil, fmt.Errorf("user=%s: %w", a.user, err)
	}
	if a.group != "" {
		if id.GID, err = sys.group(a.group); err != nil {
			return nil, fmt.Errorf("user=%s:%s: %w", a.user, a.group, err)
		}
	}
	switch {
	case id.UID == 0:
		return nil, errors.New("user= command-line attribute specifies root privileges")
	case self.UID != 0 && id != self:
		return nil, fmt.Errorf("user=%s is not the user who runs the mail system (uid %d, gid %d); only root can change to others",
			a.user, self.UID, self.GID)
	case self.UID != 0:
		return nil, nil
	case id.GID == 0:
		return nil, errors.New("user= command-line attribute specifies privileged group id 0")
	}
	owner, err := sys.user(mailOwner)
	if err != nil {
		return nil, fmt.Errorf("mail_owner: %w", err)
	}
	switch {
	case id.UID == owner.UID:
		return nil, fmt.Errorf("user= command-line attribute specifies mail system owner %s", mailOwner)
	case id.GID == owner.GID:
		return nil, fmt.Errorf("user= command-line attribute specifies mail system owner %s group id %d", mailOwner, owner.GID)
	}
	return &id, nil
}

// system asks /etc/passwd and /etc/group, and getent(1) for names that are not
// there: those of LDAP and the like.
var system = accounts{
	user: func(name string) (command.ID, error) {
		if u, err := user.Lookup(name); err == nil {
			return ids(u.Uid, u.Gid)
		}
		f, err := entry("passwd.byname", name)
		if err != nil {
			return command.ID{}, err
		}
		return ids(f[2], f[3])
	},
	group: func(name string) (int, error) {
		if g, err := user.LookupGroup(name); err == nil {
			return strconv.Atoi(g.Gid)
		}
		f, err := entry("group.byname", name)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(f[2])
	},
}

func ids(uid, gid string) (id command.ID, err error) {
	if id.UID, err = strconv.Atoi(uid); err != nil {
		return id, err
	}
	id.GID, err = strconv.Atoi(gid)
	return id, err
}

// entry is the line that getent prints, in fields.
func entry(database, name string) ([]string, error) {
	t, err := getent.Opener("getent")(table.Env{}, "unix:"+database, database)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	line, found, err := t.Lookup(context.Background(), name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("there is no such user or group on this system")
	}
	return strings.Split(line, ":"), nil
}

// self is who runs the mail system.
func self() command.ID { return command.ID{UID: os.Geteuid(), GID: os.Getegid()} }
