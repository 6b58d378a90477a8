// Package storetest is the conformance suite of store.Store: what one
// implementation promises, every implementation promises. It looks at a store
// through its interface alone, so that SQLite, PostgreSQL and whatever comes
// next answer the same questions.
//
// Run covers every method, every sentinel error, repeated and conflicting
// calls, two handles on one database that race, restarts, and the ledger's
// conservation under random transactions. RunCrash kills a process that
// writes, over and over, and looks at what is left; RunProcesses lets several
// processes race. The test binary that calls one of these must call Child in
// its TestMain.
package storetest
