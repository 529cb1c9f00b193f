package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOSRelease(t *testing.T) {
	n, v := osRelease([]byte("# c\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nID=debian\nBAD LINE\n"))
	require.Equal(t, "Debian GNU/Linux", n)
	require.Equal(t, "12", v)
	f := GatherFacts()
	require.NotEmpty(t, f.PlatformName)
	require.NotEmpty(t, f.ComputerName)
	require.NotEmpty(t, f.BootID)
}
