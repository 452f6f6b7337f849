package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"

	"sealpost/lib/logread"
)

// surveyRow is what became of messages for one domain whose senders asked for REQUIRETLS.
type surveyRow struct {
	Domain     string `json:"domain"`
	Deliveries int    `json:"deliveries"`
	// Delivered: with all that was asked for; or without a certificate that matches, without
	// an MX record that is authentic, without REQUIRETLS at the server, without TLS.
	RequireTLS  int `json:"requiretls"`
	NoCertMatch int `json:"nocertmatch"`
	NoSecureMX  int `json:"nosecuremx"`
	None        int `json:"none"`
	NoStartTLS  int `json:"nostarttls"`
	// Failed are those that were not delivered, by the tls= field's second part and the
	// status: "!requiretls:none bounced".
	Failed map[string]int `json:"failed,omitempty"`
}

// count adds one delivery with a request.
func (r *surveyRow) count(d logread.Delivery) {
	level, request, _ := d.Slots()
	r.Deliveries++
	switch {
	case d.Status != "sent" && d.Status != "deliverable": // what a probe found
		_, what, _ := strings.Cut(d.TLS, "/")
		if r.Failed == nil {
			r.Failed = map[string]int{}
		}
		r.Failed[what+" "+d.Status]++
	case level.Final == "none":
		r.NoStartTLS++
	case request.Final == "nocertmatch":
		r.NoCertMatch++
	case request.Final == "nosecuremx":
		r.NoSecureMX++
	case request.Final == "none":
		r.None++
	default:
		r.RequireTLS++
	}
}

func (r *surveyRow) failures() (n int) {
	for _, c := range r.Failed {
		n += c
	}
	return n
}

// survey reads mail logs, standard input without files, and prints what became of
// requests for REQUIRETLS. It needs no configuration.
func survey(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	asJSON := false
	if len(args) > 0 && args[0] == "-j" {
		asJSON, args = true, args[1:]
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		fmt.Fprintf(stderr, "sealpost: fatal: survey: unknown option %s\nusage: sealpost survey [-j] [logfile ...]\n", args[0])
		return 1
	}
	rows := map[string]*surveyRow{}
	take := func(d logread.Delivery) {
		if _, _, requested := d.Slots(); !requested {
			return
		}
		r := rows[d.Domain]
		if r == nil {
			r = &surveyRow{Domain: d.Domain}
			rows[d.Domain] = r
		}
		r.count(d)
	}
	var errs []error
	if len(args) == 0 {
		args = []string{"-"}
	}
	for _, name := range args {
		if err := readLog(name, stdin, take); err != nil {
			errs = append(errs, err)
		}
	}
	list := make([]*surveyRow, 0, len(rows))
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		list = append(list, rows[name])
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Deliveries > list[j].Deliveries })
	errs = append(errs, printSurvey(stdout, list, asJSON))
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(stderr, "sealpost: fatal: survey: %v\n", err)
		return 1
	}
	return 0
}

func readLog(name string, stdin io.Reader, take func(logread.Delivery)) error {
	if name == "-" {
		if err := logread.Read(stdin, take); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := logread.Read(f, take); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func printSurvey(w io.Writer, list []*surveyRow, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no delivery with a request for REQUIRETLS")
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-30s %10s %10s %11s %10s %6s %10s %7s\n", "domain", "deliveries", "requiretls", "nocertmatch", "nosecuremx", "none", "nostarttls", "failed")
	for _, r := range list {
		fmt.Fprintf(&b, "%-30s %10d %10d %11d %10d %6d %10d %7d\n", r.Domain, r.Deliveries, r.RequireTLS, r.NoCertMatch, r.NoSecureMX, r.None, r.NoStartTLS, r.failures())
		for _, what := range slices.Sorted(maps.Keys(r.Failed)) {
			fmt.Fprintf(&b, "    %s: %d\n", what, r.Failed[what])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
