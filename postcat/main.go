// # NAME
//
// postcat - show queue files
//
// # SYNOPSIS
//
//	postcat [-bdehoqrv] [-c config_dir] [-s offset] [file ...]
//
// # DESCRIPTION
//
// The postcat command prints queue files in readable form: the records of the envelope,
// the message, and what cleanup(8) found out about it. Files are those of Sealpost and of
// Postfix, which are the same. Without files it reads standard input.
//
// It changes nothing and takes no locks: it can be used while the mail system runs.
//
// # OPTIONS
//
//   - -b: show the body. -e: show the envelope. -h: show the header of the message.
//     Without any of these all are shown; "postcat -bh" shows the message as it is.
//   - -c config_dir: the directory of main.cf, instead of MAIL_CONFIG or the default.
//   - -d: show the number of each record's type.
//   - -o: show where in the file each record begins.
//   - -q: the arguments are queue ids; search the queue for them.
//   - -r: show records in the order of the file, without following pointers.
//   - -s offset: begin at this offset. The delivery options of the message are shown by
//     their names then, after message_size: "sendopts: requiretls_esmtp" says that the
//     sender asked for REQUIRETLS. Postfix shows them as the last number of message_size
//     only.
//   - -v: say which files are read.
//
// # DIAGNOSTICS
//
// Problems are said on standard error. The exit status is 0, or 1 when a file is damaged,
// is no queue file or is not there.
//
// # CONFIGURATION PARAMETERS
//
//   - queue_directory (/var/spool/sealpost), hash_queue_names, hash_queue_depth: where -q
//     searches.
//
// # SEE ALSO
//
// postqueue(1), qmgr(8), cleanup(8), postconf(5)
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/getopt"
	"sealpost/lib/queue"
)

const usage = "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-h (header text)] [-o (offset)] [-q (access queue)] [-r (raw)] [-s offset] [-v] [file(s)...]"

// options are the command line.
type options struct {
	configDir              string
	body, envelope, header bool
	types, offsets         bool
	search, raw, verbose   bool
	named                  bool // -s was given
	from                   int64
	files                  []string
}

func parse(args []string) (*options, error) {
	o := &options{}
	var err error
	o.files, err = getopt.Parse(args, "bc:dehoqrs:v", func(letter byte, value string) (err error) {
		switch letter {
		case 'b':
			o.body = true
		case 'c':
			o.configDir = value
		case 'd':
			o.types = true
		case 'e':
			o.envelope = true
		case 'h':
			o.header = true
		case 'o':
			o.offsets = true
		case 'q':
			o.search = true
		case 'r':
			o.raw = true
		case 's':
			o.named = true
			if o.from, err = strconv.ParseInt(value, 10, 64); err != nil || o.from < 0 {
				return fmt.Errorf("bad offset: %s", value)
			}
		case 'v':
			o.verbose = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, usage)
	}
	if !o.body && !o.envelope && !o.header {
		o.body, o.envelope, o.header = true, true, true
	}
	if o.search && len(o.files) == 0 {
		return nil, errors.New("specify queue ids with -q")
	}
	return o, nil
}

// settings are where the queue is.
type settings struct {
	QueueDir string `conf:"queue_directory"`
	Queue    queue.Settings
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	err := run(os.Args[1:], os.Stdin, out, os.Stderr)
	if err = errors.Join(err, out.Flush()); err != nil {
		fmt.Fprintf(os.Stderr, "postcat: fatal: %v\n", err)
		os.Exit(1)
	}
}

// run is the command. A file that cannot be shown is the end of it, as in Postfix.
func run(args []string, in io.Reader, out *bufio.Writer, errout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	cfg, err := config.Load(config.Dir(o.configDir))
	if err != nil {
		return err
	}
	var set settings
	if err := errors.Join(cfg.Decode(&set), cfg.Decode(&set.Queue)); err != nil {
		return err
	}
	if len(o.files) == 0 {
		text, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		return o.show("stdin", bytes.NewReader(text), out, errout)
	}
	for _, name := range o.files {
		f, shown, err := o.open(&set, name)
		if err != nil {
			return err
		}
		if o.verbose {
			fmt.Fprintf(errout, "postcat: %s\n", f.Name())
		}
		err = o.show(shown, f, out, errout)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// open opens a file by its name, or by its queue id. shown is what markers call it.
func (o *options) open(set *settings, name string) (f *os.File, shown string, err error) {
	if !o.search {
		f, err = os.Open(name)
		return f, name, plain("open "+name, err)
	}
	if !queue.ValidID(name) {
		return nil, "", fmt.Errorf("bad mail queue id: %s", name)
	}
	q := queue.New("", set.Queue)
	for _, dir := range []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Corrupt} {
		path := q.Path(dir, name)
		f, err = os.Open(filepath.Join(set.QueueDir, path))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, path, plain("open queue file "+name, err)
		}
	}
	return nil, "", plain("open queue file "+name, err)
}

// plain is an error of the file system without the path that the caller names.
func plain(what string, err error) error {
	if err == nil {
		return nil
	}
	var perr *fs.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// words of an error without line ends.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }
