package config

import (
	"fmt"
	"strings"
	"sync"
)

// Kind says how the value of a parameter is read.
type Kind int

// The kinds. Str, List, Raw and Enum are text.
const (
	Str   Kind = iota
	List       // words separated by comma or white space
	Raw        // text whose $name is expanded where it is used, not here
	Enum       // one word of Param.Values
	Bool       // yes or no
	Int        // a number
	Size       // a number of bytes, 64 bits
	Octal      // file permissions
	Time       // a number with a unit: s m h d w
)

// String is the name of the kind, for messages.
func (k Kind) String() string {
	return [...]string{"text", "list", "text", "word", "yes or no", "number", "number", "octal number", "time"}[k]
}

// Status says what the mail system does with a parameter.
type Status int

// The statuses.
const (
	Known       Status = iota // Postfix has it, Sealpost does not act on it
	Implemented               // as in Postfix
	Own                       // Sealpost has it, Postfix does not
)

// Param is one row of the parameter table.
type Param struct {
	Name     string
	Kind     Kind
	Default  string // as written in main.cf; $name is expanded
	Computed bool   // the default is found out at run time: host name, networks
	Values   string // the words of an Enum
	Min, Max int64  // bounds of numbers, of times in seconds; Max 0: none
	Readers  string // the daemons that read it
	Status   Status
	Doc      string // one paragraph for the manual
}

// unit is the unit of a time value that is written without one: that of the
// default, as in Postfix.
func (p *Param) unit() byte {
	d := p.Default
	if d != "" {
		switch u := d[len(d)-1]; u {
		case 's', 'm', 'h', 'd', 'w':
			return u
		}
	}
	return 's'
}

// bounds is the allowed range in words.
func (p *Param) bounds() string {
	unit := ""
	if p.Kind == Time {
		unit = "s"
	}
	if p.Max > 0 {
		return fmt.Sprintf("%d%s to %d%s", p.Min, unit, p.Max, unit)
	}
	return fmt.Sprintf("%d%s or more", p.Min, unit)
}

// Limits is the allowed range of a number or a time, and the words of an
// enumeration, for the manual; "" where anything is allowed.
func (p *Param) Limits() string {
	switch p.Kind {
	case Enum:
		return strings.Join(strings.Fields(p.Values), ", ")
	case Int, Size, Time:
		if p.Min != 0 || p.Max != 0 {
			return p.bounds()
		}
	}
	return ""
}

var paramIndex = sync.OnceValue(func() map[string]*Param {
	index := make(map[string]*Param, 1024)
	for _, rows := range [][]Param{
		deliverParams, lmtpParams, messageParams, postscreenParams, queueParams, smtpParams,
		smtpTlsParams, smtpdParams, smtpdTlsParams, systemParams, tlsParams,
	} {
		for i := range rows {
			index[rows[i].Name] = &rows[i]
		}
	}
	return index
})

// Lookup finds a parameter in the table, or one that a transport derives
// ("relay_destination_concurrency_limit").
func Lookup(name string) (*Param, bool) {
	if p, ok := paramIndex()[name]; ok {
		return p, true
	}
	return lookupTransport(name)
}

// Params is the parameter table in no particular order. The rows must not be changed.
func Params() []*Param {
	index := paramIndex()
	rows := make([]*Param, 0, len(index))
	for _, p := range index {
		rows = append(rows, p)
	}
	return rows
}

// transportSuffixes are the ends of parameter names that begin with the name of
// a master.cf service, with the parameter that holds the default.
var transportSuffixes = []struct{ suffix, fallback string }{
	{"_delivery_slot_cost", "default_delivery_slot_cost"},
	{"_delivery_slot_discount", "default_delivery_slot_discount"},
	{"_delivery_slot_loan", "default_delivery_slot_loan"},
	{"_destination_concurrency_failed_cohort_limit", "default_destination_concurrency_failed_cohort_limit"},
	{"_destination_concurrency_limit", "default_destination_concurrency_limit"},
	{"_destination_concurrency_negative_feedback", "default_destination_concurrency_negative_feedback"},
	{"_destination_concurrency_positive_feedback", "default_destination_concurrency_positive_feedback"},
	{"_destination_rate_delay", "default_destination_rate_delay"},
	{"_destination_recipient_limit", "default_destination_recipient_limit"},
	{"_extra_recipient_limit", "default_extra_recipient_limit"},
	{"_initial_destination_concurrency", "initial_destination_concurrency"},
	{"_minimum_delivery_slots", "default_minimum_delivery_slots"},
	{"_recipient_limit", "default_recipient_limit"},
	{"_recipient_refill_delay", "default_recipient_refill_delay"},
	{"_recipient_refill_limit", "default_recipient_refill_limit"},
	{"_time_limit", "command_time_limit"},
	{"_transport_rate_delay", "default_transport_rate_delay"},
}

// TransportSuffixes lists the suffixes of transport-derived parameters, each
// with the parameter that holds their default.
func TransportSuffixes() map[string]string {
	suffixes := make(map[string]string, len(transportSuffixes))
	for _, row := range transportSuffixes {
		suffixes[row.suffix] = row.fallback
	}
	return suffixes
}

// lookupTransport derives a row for a name that ends in a transport suffix. The
// longest suffix wins: x_destination_recipient_limit is not a _recipient_limit.
func lookupTransport(name string) (*Param, bool) {
	best := -1
	for i, row := range transportSuffixes {
		if len(name) > len(row.suffix) && strings.HasSuffix(name, row.suffix) &&
			(best < 0 || len(row.suffix) > len(transportSuffixes[best].suffix)) {
			best = i
		}
	}
	if best < 0 {
		return nil, false
	}
	p := *paramIndex()[transportSuffixes[best].fallback]
	p.Default = "$" + p.Name
	p.Name = name
	return &p, true
}

// Derived reports whether the row was made by Lookup for a transport.
func (p *Param) Derived() bool {
	_, fixed := paramIndex()[p.Name]
	return !fixed
}
