// Package conf holds the configuration files as they are installed, for tests
// and the demonstration, which start from the same files.
package conf

import _ "embed"

// MainCF and MasterCF are the texts of the packaged files.
var (
	//go:embed main.cf
	MainCF string
	//go:embed master.cf
	MasterCF string
)
