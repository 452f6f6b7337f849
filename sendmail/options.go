package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/sendopts"
)

// mode is what the command was asked to do.
type mode int

const (
	modeSubmit    mode = iota
	modeVerify         // -bv
	modeQueue          // -bp
	modeSMTP           // -bs
	modeDaemon         // -bd
	modeAliases        // -bi
	modeFlush          // -q
	modeFlushID        // -qI
	modeFlushSite      // -qR
)

// options are the command line.
type options struct {
	mode       mode
	config     string // -C
	flushArg   string
	aliasFiles []string // -oA
	sender     string
	senderSet  bool
	fullName   string
	encoding   string
	notify     dsn.Notify
	ret        dsn.Ret
	envID      string
	verp       string // delimiters; "default" for -XV alone
	dotOK      bool   // -i
	fromHeader bool   // -t
	relay      bool   // -G
	record     bool   // -v
	verbose    int
	sendOpts   sendopts.Options
	recipients []string
	// warnings are about options that have no effect.
	warnings []string
}

func (o *options) warn(format string, args ...any) {
	o.warnings = append(o.warnings, fmt.Sprintf(format, args...))
}

// errUsage: the command line makes no sense; exit status 64.
var errUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// withValue are the options that take the rest of the word, or the next word.
const withValue = "ABCDFLNORVXbefhopqr"

// parseOptions reads the command line. argv[0] can choose the mode: mailq,
// newaliases.
func parseOptions(argv []string) (*options, error) {
	o := &options{}
	switch filepath.Base(argv[0]) {
	case "mailq":
		o.mode = modeQueue
	case "newaliases":
		o.mode = modeAliases
	}
	args := argv[1:]
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			args = args[1:]
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		args = args[1:]
		if err := o.word(arg[1:], &args); err != nil {
			return nil, err
		}
	}
	o.recipients = args
	return o, nil
}

// word handles one argument of options, such as "ti" or "fsender".
func (o *options) word(word string, args *[]string) error {
	for i := 0; i < len(word); i++ {
		c := word[i]
		if strings.IndexByte(withValue, c) < 0 {
			if err := o.flag(c); err != nil {
				return err
			}
			continue
		}
		value := word[i+1:]
		// -q and -X and -o may stand alone; the others want a value.
		if value == "" && c != 'q' {
			if len(*args) == 0 {
				return usage("option -%c needs a value", c)
			}
			value, *args = (*args)[0], (*args)[1:]
		}
		return o.value(c, value)
	}
	return nil
}

func (o *options) flag(c byte) error {
	switch c {
	case 'i':
		o.dotOK = true
	case 't':
		o.fromHeader = true
	case 'G':
		o.relay = true
	case 'I':
		o.mode = modeAliases
	case 'v':
		if o.record {
			o.verbose++
		}
		o.record = true
	case 'm', 'n', 'U', 's', 'M', 'T', 'd', 'x':
		// accepted for the sake of old programs
	default:
		return usage("unknown option -%c", c)
	}
	return nil
}

func (o *options) value(c byte, v string) error {
	switch c {
	case 'B':
		return o.body(v)
	case 'b':
		return o.setMode(v)
	case 'C':
		o.config = v
	case 'F':
		o.fullName = v
	case 'f', 'r':
		o.sender, o.senderSet = v, true
	case 'N':
		return o.setNotify(v)
	case 'O':
		o.setOption(v)
	case 'o':
		// Others are historical and have no effect.
		switch name, isAlias := strings.CutPrefix(v, "A"); {
		case v == "i":
			o.dotOK = true
		case isAlias && name != "":
			o.aliasFiles = append(o.aliasFiles, name)
		}
	case 'q':
		return o.setFlush(v)
	case 'R':
		switch strings.ToLower(v) {
		case "full":
			o.ret = dsn.RetFull
		case "hdrs":
			o.ret = dsn.RetHdrs
		default:
			return usage("-R %s: specify full or hdrs", v)
		}
	case 'V':
		return o.setEnvelopeID(v)
	case 'X':
		if strings.HasPrefix(v, "V") {
			o.verp = v[1:]
			if o.verp == "" {
				o.verp = "default"
			} else if len(o.verp) != 2 {
				return usage("-XV%s: specify two delimiter characters", o.verp)
			}
		}
	}
	return nil
}

func (o *options) body(v string) error {
	switch strings.ToUpper(v) {
	case "7BIT":
		o.encoding = "7bit"
	case "8BITMIME":
		o.encoding = "8bit"
	default:
		return usage("-B %s: specify 7BIT or 8BITMIME", v)
	}
	return nil
}

func (o *options) setMode(v string) error {
	switch v {
	case "m", "h", "H":
		o.mode = modeSubmit
	case "v":
		o.mode = modeVerify
	case "p":
		o.mode = modeQueue
	case "s":
		o.mode = modeSMTP
	case "d", "l":
		o.mode = modeDaemon
	case "i":
		o.mode = modeAliases
	default:
		return usage("unsupported: -b%s", v)
	}
	return nil
}

func (o *options) setFlush(v string) error {
	switch {
	case v == "" || v[0] >= '0' && v[0] <= '9':
		o.mode = modeFlush
	case v[0] == 'I' && len(v) > 1:
		o.mode, o.flushArg = modeFlushID, v[1:]
	case v[0] == 'R' && len(v) > 1:
		o.mode, o.flushArg = modeFlushSite, v[1:]
	default:
		return usage("-q%s is not implemented: use -q, -qIqueueid or -qRsite", v)
	}
	return nil
}

// setEnvelopeID is RFC 3461 §4.4: what the client writes before encoding.
func (o *options) setEnvelopeID(v string) error {
	if len(v) > maxEnvelopeID || strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return usage("-V %q: specify at most %d printable ASCII characters", v, maxEnvelopeID)
	}
	o.envID = v
	return nil
}

const maxEnvelopeID = 100

func (o *options) setNotify(v string) error {
	var mask dsn.Notify
	for name := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		bit, ok := map[string]dsn.Notify{
			"never": dsn.NotifyNever, "success": dsn.NotifySuccess,
			"failure": dsn.NotifyFailure, "delay": dsn.NotifyDelay,
		}[strings.ToLower(name)]
		if !ok {
			return usage("-N %s: unknown condition %q", v, name)
		}
		mask |= bit
	}
	if mask == 0 || !mask.Valid() {
		return usage("-N %s: specify never, or a list of success, failure and delay", v)
	}
	o.notify = mask
	return nil
}

// ourOptions are those of -O that mean something here.
var ourOptions = map[string]sendopts.Options{
	"requiretls": sendopts.RequireTLSESMTP, "smtputf8": sendopts.SMTPUTF8Requested,
}

// setOption is requiretls.md §9.1; other options of that program mean nothing. A
// name without value, or its beginning, is a mistake.
func (o *options) setOption(v string) {
	name, value, hasValue := strings.Cut(strings.ToLower(v), "=")
	for known, bit := range ourOptions {
		switch {
		case hasValue && name != known, !hasValue && !strings.HasPrefix(known, name):
			continue
		case value == "yes":
			o.sendOpts |= bit
		case value == "no":
			o.sendOpts &^= bit
		default:
			o.warn("bad -O option: '%s' -- ignored", v)
		}
		return
	}
}

// traceFlags is what -bv and -v ask for.
func (o *options) traceFlags() mailproto.DeliveryFlags {
	switch {
	case o.mode == modeVerify:
		return mailproto.DeliverUserVerify
	case o.record:
		return mailproto.DeliverRecord
	}
	return 0
}
