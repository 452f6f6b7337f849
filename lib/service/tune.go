package service

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A mail system is several busy processes on one machine, and each message
// passes through most of them. Two settings of the Go runtime, meant for a
// process that has the machine to itself, cost more than they give here:
//
//   - Every process would keep a thread looking for work on each processor. Half
//     the processors for each leaves the threads of one daemon from spinning in
//     the way of the others.
//   - A worker's live heap is a few hundred kilobytes, so a collection would run
//     for every four megabytes of garbage. The heap may grow to heapRoom before
//     the first; a worker with much live memory (thousands of sessions) is
//     collected as usual, so that it does not take several times what it needs.
//
// GOMAXPROCS and GOGC in the environment still win.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
	if os.Getenv("GOGC") == "" {
		adjustGC()
	}
}

// heapRoom is the heap size, in bytes, below which a collection is not worth it.
const heapRoom = 8 << 20

// gcPercent is the growth that lets a heap with the given live bytes reach
// heapRoom, but never less than Go's default.
func gcPercent(live uint64) int {
	const lowest, highest = 100, 1600
	if live >= heapRoom/2 {
		return lowest
	}
	return int(min((heapRoom-live)*100/max(live, 1), highest))
}

// adjustGC sets the growth by what is live now, and again after each collection:
// an object that nobody holds is finalized by every collection.
func adjustGC() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(gcPercent(sample[0].Value.Uint64()))
	type marker struct{ _ [16]byte }
	runtime.SetFinalizer(new(marker), func(*marker) { adjustGC() })
}
