// Package scenario is what the applications of tests/apps/go share: one is started as
//
//	APPLICATION BOOTSTRAP SCENARIO ARGUMENT...
//
// does what the scenario says through its client, and prints what it saw as one line of JSON. tests/clients/test_applications.py
// says what each scenario does and judges what was seen.
package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Seen is what a scenario prints.
type Seen map[string]any

const (
	// CodecRecords is how many records are sent with each codec.
	CodecRecords = 50
	// GroupPartitions and GroupRecords are those of the group's topic: so many records before and after each change.
	GroupPartitions, GroupRecords = 4, 40
	// Transactions is the number of the last transaction; the odd ones are aborted.
	Transactions = 10
	// TransactionPartitions is how many partitions each transaction writes to.
	TransactionPartitions = 3
	// PipeRecords go from one topic to another, PipeBatch in each transaction; every third transaction is aborted.
	PipeRecords, PipeBatch, PipePartitions = 60, 5, 2
	// Wait bounds every wait for something that a broker or another member does.
	Wait = 60 * time.Second
)

// Value is the value of a record of the scenario of codecs: it can be compressed, and tells what it is.
func Value(codec string, n int) string {
	return fmt.Sprintf("%s-%d-%s", codec, n, strings.Repeat("x", 200))
}

// Run does the scenario that the command line names.
func Run(scenarios map[string]func(bootstrap string, arguments []string) Seen) {
	if len(os.Args) < 3 || scenarios[os.Args[2]] == nil {
		fmt.Fprintln(os.Stderr, "usage: APPLICATION BOOTSTRAP SCENARIO ARGUMENT...")
		os.Exit(2)
	}
	line, err := json.Marshal(scenarios[os.Args[2]](os.Args[1], os.Args[3:]))
	Must(err)
	fmt.Println(string(line))
}

// Must ends the application with an error that the scenario did not expect.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Eventually waits until `check` is true.
func Eventually(what string, check func() bool) {
	for deadline := time.Now().Add(Wait); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic(what + " did not come true")
		}
	}
}

// Values is a list that several goroutines append to.
type Values struct {
	mutex sync.Mutex
	list  []string
}

// Add appends a value.
func (v *Values) Add(value string) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.list = append(v.list, value)
}

// All returns a copy of the list.
func (v *Values) All() []string {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return append([]string{}, v.list...)
}

// Calls notes by name how each administrative call ended.
type Calls struct {
	Seen Seen
}

// Note notes "ok" or the error.
func (c *Calls) Note(name string, err error) {
	if c.Seen == nil {
		c.Seen = Seen{}
	}
	c.Seen[name] = "ok"
	if err != nil {
		c.Seen[name] = "error: " + err.Error()
	}
}
