package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
)

const usage = "usage: posttls-finger [-acCfSvw] [-option value ...] [inet:]domain[:port] [match ...]"

// exUnavailable is the status of sysexits.h when nothing could be tried.
const exUnavailable = 69

// options are what the command line asks for.
type options struct {
	dest      string
	match     []string
	overrides []config.Override
	set       map[string]string // parameter endings, for smtp_ or lmtp_
	levelSet  bool
	lmtp      bool
	tlsOnly   bool // -c
	pem       bool // -C
	words     string
	reconnect time.Duration
	count     int
	verbose   bool
}

// direct are options that override one parameter each.
var direct = map[byte]string{
	'a': "address_preference", 'd': "tls_fingerprint_digest", 'F': "tls_CAfile", 'P': "tls_CApath",
	'g': "tls_mandatory_ciphers", 'h': "host_lookup", 'k': "tls_cert_file", 'K': "tls_key_file",
	'p': "tls_mandatory_protocols", 's': "tls_servername",
}

// several are options that may be repeated.
var several = map[byte]string{'A': "tls_trust_anchor_file", 'H': "tls_chain_files"}

func parse(args []string) (*options, error) {
	o := &options{set: make(map[string]string), words: "routine,certmatch", count: 5}
	// Nothing of main.cf that is about other destinations.
	for _, name := range []string{"tls_policy_maps", "tls_per_site", "tls_CAfile", "tls_CApath", "fallback_relay",
		"tls_chain_files", "tls_cert_file", "tls_eccert_file", "tls_session_cache_database"} {
		o.set[name] = ""
	}
	o.set["tls_security_level"], o.set["dns_support_level"] = "dane", "dnssec"
	// Each host is tried.
	o.set["mx_address_limit"] = "0"
	rest, err := getopt.Parse(args, "a:A:cCd:fF:g:h:H:k:K:l:L:m:M:o:p:P:r:s:St:T:vw", o.option)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errors.New(usage)
	}
	o.dest, o.match = rest[0], rest[1:]
	o.lmtp = o.lmtp || strings.HasPrefix(o.dest, "unix:")
	if !o.lmtp {
		o.dest = strings.TrimPrefix(o.dest, "inet:")
	}
	o.matches()
	return o, nil
}

func (o *options) option(letter byte, value string) (err error) {
	if name, ok := direct[letter]; ok {
		o.set[name] = value
		return nil
	}
	if name, ok := several[letter]; ok {
		o.set[name] = strings.TrimSpace(o.set[name] + " " + value)
		return nil
	}
	switch letter {
	case 'c':
		o.tlsOnly = true
	case 'C':
		o.pem = true
	case 'f':
		o.set["tls_force_insecure_host_tlsa_lookup"] = "yes"
	case 'l':
		o.set["tls_security_level"], o.levelSet = value, true
	case 'L':
		o.words = value
	case 'm':
		o.count, err = strconv.Atoi(value)
	case 'M':
		o.overrides = append(o.overrides, config.Override{Name: "smtp_tls_dane_insecure_mx_policy", Value: value})
	case 'o':
		name, text, ok := strings.Cut(value, "=")
		if !ok {
			return fmt.Errorf("-o %s: want name=value", value)
		}
		o.overrides = append(o.overrides, config.Override{Name: strings.TrimSpace(name), Value: strings.TrimSpace(text)})
	case 'r':
		var seconds int
		seconds, err = strconv.Atoi(value)
		o.reconnect = time.Duration(seconds) * time.Second
		o.set["tls_session_cache_database"] = "memory"
	case 'S':
		o.lmtp = true
	case 't':
		o.set["connect_timeout"] = value
	case 'T':
		o.set["starttls_timeout"], o.set["quit_timeout"], o.set["hello timeout"] = value, value, value
	case 'v':
		o.verbose = true
	case 'w':
		o.set["tls_wrappermode"] = "yes"
	}
	if err != nil {
		return fmt.Errorf("-%c %s: %w", letter, value, err)
	}
	return nil
}

// matches takes the words after the destination.
func (o *options) matches() {
	if len(o.match) == 0 {
		return
	}
	text := strings.Join(o.match, " ")
	o.set["tls_fingerprint_cert_match"], o.set["tls_verify_cert_match"], o.set["tls_secure_cert_match"] = text, text, text
}

// config is main.cf with the options over it. A directory without main.cf means
// the defaults: the program is of use before there is a mail system.
func (o *options) config() (*config.Config, error) {
	prefix, hello := "smtp_", "smtp_helo_timeout"
	if o.lmtp {
		prefix, hello = "lmtp_", "lmtp_lhlo_timeout"
	}
	list := make([]config.Override, 0, len(o.set)+len(o.overrides))
	for name, value := range o.set {
		if name == "hello timeout" {
			list = append(list, config.Override{Name: hello, Value: value})
			continue
		}
		list = append(list, config.Override{Name: prefix + name, Value: value})
	}
	list = append(list, o.overrides...)
	c, err := config.Load(config.Dir(""), list...)
	if !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	base, err := config.FromMap(nil)
	if err != nil {
		return nil, err
	}
	return base.With(list...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program.
func run(ctx context.Context, args []string, out, errout io.Writer) int {
	o, err := parse(args)
	if err == nil {
		var f *finger
		if f, err = newFinger(o, out); err == nil {
			var good []bool
			if good, err = f.destination(ctx); err == nil {
				if slices.Contains(good, false) {
					return 1
				}
				return 0
			}
		}
	}
	fmt.Fprintf(errout, "posttls-finger: %v\n", err)
	return exUnavailable
}
