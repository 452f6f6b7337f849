package main

import (
	"errors"
	"fmt"

	"sealpost/lib/getopt"
)

// options are the command line.
type options struct {
	program   string
	alias     bool // postalias
	configDir string

	body, header, mime bool // -b -h -m
	exact              bool // -f
	files              bool // -F
	add                bool // -i
	json               bool // -j
	keepRoot           bool // -o
	open               bool // -p
	replace, quiet     bool // -r -w
	anyBytes, checked  bool // -u -U
	verbose            bool

	list     bool    // -s
	query    *string // -q
	deletion *string // -d

	tables []string
}

var errOnlyOne = errors.New("specify only one of")

func parse(program string, args []string) (*options, error) {
	o := &options{program: program, alias: program == "postalias"}
	letters := "bc:d:fFhijmnNopq:rsuUvw"
	if o.alias {
		letters = "c:d:fijnNopq:rsuvw"
	}
	var err error
	o.tables, err = getopt.Parse(args, letters, o.set)
	if err != nil && !errors.Is(err, errOnlyOne) {
		return nil, fmt.Errorf("%w\n%s", err, o.usage())
	}
	switch {
	case err != nil:
		return nil, err
	case len(o.tables) == 0:
		return nil, errors.New(o.usage())
	case (o.body || o.header || o.mime) && (o.query == nil || *o.query != "-"):
		return nil, errors.New(`specify -b -h or -m only with "-q -"`)
	case o.mime && !o.body && !o.header:
		return nil, errors.New("specify -m only with -b or -h")
	case o.add && (o.list || o.query != nil || o.deletion != nil):
		return nil, errors.New("specify -i without -s, -q and -d")
	}
	return o, nil
}

func (o *options) usage() string {
	if o.alias {
		return "usage: postalias [-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [type:]file..."
	}
	return "usage: postmap [-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [type:]file..."
}

func (o *options) set(letter byte, value string) error {
	switch letter {
	case 'b':
		o.body = true
	case 'c':
		o.configDir = value
	case 'd', 'q', 's':
		if o.list || o.query != nil || o.deletion != nil {
			if letter == 'd' { // Postfix's words, for scripts that know them
				return fmt.Errorf("%w -s -q or -d", errOnlyOne)
			}
			return fmt.Errorf("%w -s or -q or -d", errOnlyOne)
		}
		switch letter {
		case 'd':
			o.deletion = &value
		case 'q':
			o.query = &value
		default:
			o.list = true
		}
	case 'f':
		o.exact = true
	case 'F':
		o.files = true
	case 'h':
		o.header = true
	case 'i':
		o.add = true
	case 'j':
		o.json = true
	case 'm':
		o.mime = true
	case 'o':
		o.keepRoot = true
	case 'p':
		o.open = true
	case 'r':
		o.replace = true
	case 'u':
		o.anyBytes = true
	case 'U':
		o.checked = true
	case 'v':
		o.verbose = true
	case 'w':
		o.quiet = true
	}
	return nil
}
