// Package table opens lookup tables, lists of tables and match lists, as
// parameters in main.cf name them (protocols.md sections 6.1 to 6.6).
//
// A table is written TYPE:NAME. The types are
//
//	inline:{key = value, {key = some text}}  in the parameter itself
//	static:value, static:{some text}         the same answer for every key
//	texthash:/file                           lines "key value", read once
//	hash: btree: lmdb: cdb: bbolt:/file      /file.bbolt, which postmap builds
//	regexp:/file, regexp:{{/re/ text}}       regular expressions, in order
//	pcre:/file, pcre:{{/re/ text}}           the same as in Perl
//	cidr:/file, cidr:{{net text}}            addresses and networks, in order
//	pipemap:{t1, t2}, unionmap:{t1, t2}      tables after and beside each other
//	randmap:{a, b}                           any one of the values
//	environ:name                             the environment
//	fail:name                                fails, for tests
//	debug:type:name                          logs the look-ups of a table
//	internal:name                            in memory, empty
//	socketmap:inet:host:port:name            a server that speaks netstrings,
//	socketmap:unix:path:name                 such as the plug-ins for MTA-STS
//	tcp:host:port                            a server that speaks lines
//
// Tables of databases (pgsql, mysql, ldap, sqlite, memcache, redis) and
// unix:passwd.byname, unix:group.byname are asked through the daemon proxymap,
// where Env.Types does not say otherwise.
//
// proxy:TYPE:NAME is TYPE:NAME (decision 47). A table that cannot be opened
// becomes one whose look-ups fail, so that mail is deferred, never treated as if
// the table said no.
package table

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is one lookup table (§6.1). Safe for concurrent use.
type Table interface {
	// Lookup returns the value for key. A table that fails gives an error that
	// names the table; it is never "not found".
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
	Name() string    // "type:name"
	Fixed() bool     // exact keys (not a pattern table); only these see partial keys
	Files() []string // files to watch for changes
	Close() error
}

// Lister is a table that can be listed (postmap -s). The order is the table's.
// An error ends the list.
type Lister interface {
	All(ctx context.Context) iter.Seq2[Entry, error]
}

// Updater is a table that can be changed in place. Put replaces what is there.
// Delete reports whether the key was there.
type Updater interface {
	Put(ctx context.Context, key, value string) error
	Delete(ctx context.Context, key string) (found bool, err error)
}

// Opener opens a table. spec is "type:name", name what follows the type. An
// error says what is wrong without naming the table: Open and TryOpen's callers
// do. A table that can be opened, but not asked at the moment (a server that is
// down), opens, and its look-ups fail.
type Opener func(env Env, spec, name string) (Table, error)

// Env is what tables may need from outside.
type Env struct {
	Warnf func(format string, args ...any) // problems in table files
	Infof func(format string, args ...any) // what debug: tables say; nil: Warnf
	Rand  func(n int) int                  // a number below n; nil: math/rand
	Types map[string]Opener                // types beside the built-in ones, which they replace
	Exact bool                             // do not fold keys (postmap -f)
	NoSub bool                             // refuse $number in pattern tables
	// AnyBytes: lines of sources need not be UTF-8 (postmap -u).
	AnyBytes bool
	// Proxymap is the socket of the daemon that holds the tables of databases; empty:
	// private/proxymap in the working directory.
	Proxymap string
}

func (e Env) warnf(format string, args ...any) {
	if e.Warnf != nil {
		e.Warnf(format, args...)
	}
}

func (e Env) rand(n int) int {
	if e.Rand != nil {
		return e.Rand(n)
	}
	return rand.IntN(n)
}

// Error is a look-up that failed: temporary, and never "not found". Fail makes
// one, so that every table names itself in the same way.
type Error struct {
	Table string // "type:name"
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("table %s: %v", e.Table, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Fail is the error of a look-up in table spec.
func Fail(spec string, err error) error { return &Error{spec, err} }

// The ways in which a look-up can fail. All of them are temporary.
var (
	ErrUnavailable = errors.New("is unavailable")
	ErrEmptyResult = errors.New("returns an empty string result")
	ErrFail        = errors.New("fails every look-up")
	ErrNoList      = errors.New("sequence operation is not supported")
)

// The ways in which the name of a table can be malformed.
var (
	ErrForm = errors.New(`expecting "type:name" form`)
	ErrType = errors.New("unsupported dictionary type")
)

// constructors are the table types by name.
func constructors() map[string]Opener {
	all := map[string]Opener{
		"cidr":      openCIDR,
		"debug":     openDebug,
		"environ":   openEnviron,
		"fail":      openFail,
		"inline":    openInline,
		"internal":  openInternal,
		"pcre":      openPCRE,
		"pipemap":   openPipe,
		"proxy":     openProxy,
		"randmap":   openRandom,
		"regexp":    openRegexp,
		"socketmap": openSocketmap,
		"static":    openStatic,
		"tcp":       openTCP,
		"texthash":  openTexthash,
		"unionmap":  openUnion,
	}
	for _, name := range Indexed() {
		all[name] = openIndexed
	}
	return all
}

// Types lists the names of the table types.
func Types() []string {
	var names []string
	for name := range constructors() {
		names = append(names, name)
	}
	return append(names, Asked()...)
}

// Open opens "type:name". A table that cannot be opened is returned as a
// surrogate whose lookups fail with the reason (§6.1), and the reason is warned.
func Open(env Env, spec string) Table {
	t, err := TryOpen(env, spec)
	if err != nil {
		env.warnf("%s is unavailable. %v", spec, err)
		return &surrogate{spec, err}
	}
	return t
}

// TryOpen is Open that says why a table cannot be opened.
func TryOpen(env Env, spec string) (Table, error) {
	kind, name, ok := strings.Cut(spec, ":")
	if !ok || name == "" || !isTypeName(kind) {
		return nil, fmt.Errorf("open dictionary: %w instead of %q", ErrForm, spec)
	}
	open := env.Types[kind]
	if open == nil {
		open = constructors()[kind]
	}
	if open == nil && slices.Contains(Asked(), kind) {
		open = openAsked
	}
	if open == nil {
		return nil, fmt.Errorf("%w: %s", ErrType, kind)
	}
	return open(env, spec, name)
}

func isTypeName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (i == 0 || s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}

// surrogate stands for a table that could not be opened.
type surrogate struct {
	spec   string
	reason error
}

func (s *surrogate) Lookup(context.Context, string) (string, bool, error) {
	return "", false, fmt.Errorf("%s %w. %w", s.spec, ErrUnavailable, s.reason)
}
func (s *surrogate) Name() string    { return s.spec }
func (s *surrogate) Fixed() bool     { return true }
func (s *surrogate) Files() []string { return nil }
func (s *surrogate) Close() error    { return nil }

// base has what tables without files and resources share.
type base struct {
	spec  string
	fixed bool
	files []string
}

func (b *base) Name() string    { return b.spec }
func (b *base) Fixed() bool     { return b.fixed }
func (b *base) Files() []string { return b.files }
func (b *base) Close() error    { return nil }

// Fold is the form of a key in which tables with exact keys compare it.
func Fold(s string) string { return fold(s) }

func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= 0x80 {
			if !utf8.ValidString(s) {
				return foldASCII(s)
			}
			return strings.ToLower(s)
		}
	}
	return s
}

// foldASCII is for text that is not UTF-8: its other bytes are what they are.
func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
