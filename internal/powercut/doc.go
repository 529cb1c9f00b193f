// Package powercut cuts the power of a disk that real processes write to, as often as a test likes, on one machine and without harm to it (Linux, root).
//
// A file system lies in an image on a loop device, and the image lies on another file system that can clone files (XFS with reflinks). Cloning the image is atomic: the clone is what
// the disk held in that instant, while everything that was only in the file system's memory is not in it. Mounted, its journal is replayed as after a
// real cut; then the test opens what it finds with the present code and looks for everything that was acknowledged.
//
//	func TestPowerCut(t *testing.T) {
//		if powercut.Role() == "writer" { // a process that writes and says what was acknowledged
//			write(powercut.Args(), powercut.Ack)
//			return
//		}
//		if !powercut.Enter(t) {
//			return
//		}
//		disk := powercut.NewRig(t).Disk("ext4")
//		w := powercut.Start(t, "writer", disk.Dir)
//		cut := disk.Cut(w)
//		cut.Inspect(func(dir string) { … cut.Acked … })
//	}
//
// Everything is mounted in a mount namespace of the test's own process, below a fresh directory: nobody else sees it, and it is gone with the last process of the test, however that ends.
//
// What it does not show: a drive that loses what it said was written, and sectors written in another order.
package powercut
