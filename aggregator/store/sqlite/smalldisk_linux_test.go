package sqlite

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"credence/aggregator/store"
)

const smallDisk = "CREDENCE_STORE_SMALL_DISK"

// TestSmallDisk fills a real file system of 512 KiB. It is mounted by a copy
// of the test that runs in a mount namespace of its own, so that nothing of
// it is seen outside and nothing is left of it.
func TestSmallDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
		fillDisk(t, dir)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestSmallDisk$", "-test.v") // #nosec G204 -- this test binary
	child.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Skipf("this system does not let a process have namespaces of its own: %v", err)
	}
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	s, err := Open(t.Context(), databaseIn(dir))
	must(t, err)
	entered := 0
	for ; err == nil && entered < 5000; entered++ {
		err = s.Transact(t.Context(), grant(fmt.Sprintf("%0500d", entered), 1))
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("got %v", err)
	}
	t.Logf("full after %d transactions: %v", entered, err)
	must(t, s.Close())
	again, err := Open(t.Context(), databaseIn(dir))
	if err != nil { // a full disk may not let it be opened, but says so
		if !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		return
	}
	defer func() { must(t, again.Close()) }()
	must(t, again.Check(t.Context()))
	balances, err := again.Balances(t.Context())
	must(t, err)
	if balances["party/a"] != int64(entered-1) {
		t.Fatalf("%d credits, want %d", balances["party/a"], entered-1)
	}
}
