// Package store is an indexed lookup table in a file: what hash:, btree:, lmdb:, cdb:
// and bbolt: mean (decision 41). The table that is made from NAME is NAME.bbolt.
//
// A file is written once and never changed: a new one is written beside it, made
// durable and renamed over it. So a reader sees the old table or the new one, takes no
// lock that a writer waits for, and needs no look at the file between two look-ups.
// Programs that write one table wait for each other. Locks of other users, who can lock
// whatever they can read, hold up neither readers nor writers.
//
// The file is a bbolt database with one bucket, followed by a trailer with the length
// and the CRC-32C of all before it:
//
//	database | "sealpost" | length, 8 bytes, big endian | CRC, 4 bytes, big endian
//
// Open checks it, so that a file that was cut off or damaged is an error at once. One
// that is cut off later, while it is mapped into memory, is an error of the look-up
// that meets the hole.
package store

import "errors"

// Suffix is what a table's file has after the name of its source.
const Suffix = ".bbolt"

// ErrDamaged is a file that is not what Build wrote. Build the table again.
var ErrDamaged = errors.New("damaged or incomplete: run postmap to build it again")

// bucket holds the entries.
var bucket = []byte("table")
