/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Who reads: the request in the buffer, the socket behind its file descriptor, and the capabilities.
 */
#ifndef MPTCPAPI_BPF_CALLER_H
#define MPTCPAPI_BPF_CALLER_H

#include "kernel.h"
#include "request.h"

#define CAP_NET_ADMIN 12
#define CAP_NET_RAW 13
#define MAX_USER_NAMESPACES 33 /* as deep as the kernel lets them be, and the first one */
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define PF_IO_WORKER 0x10
#define PF_KTHREAD 0x200000

/* Where the reader's buffer is, and how many bytes it wants; 0 if this is no read() by a 64-bit program. The numbers of
 * read() on x86-64 and arm64 are of no reading system call in the 32-bit interfaces of these machines. */
INLINE u64 reading(struct task_struct *task, u64 *size) {
  u64 buffer = 0, number = 0;
  u32 flags = 0;
  s32 call = 0;
  void *found = bpf_task_pt_regs(task);
  /* What works for io_uring in the kernel has no system call of its own. */
  if (!READ(flags, task->flags) || flags & (PF_KTHREAD | PF_IO_WORKER)) return 0;
  if (HAS_FIELD(((struct pt_regs___x86_64 *)0)->orig_ax)) {
    struct pt_regs___x86_64 *registers = found;
    if (!READ(number, registers->orig_ax) || number != 0) return 0;
    if (!READ(buffer, registers->si) || !READ(*size, registers->dx)) return 0;
    return buffer;
  }
  if (HAS_FIELD(((struct pt_regs___arm64 *)0)->syscallno)) {
    struct pt_regs___arm64 *registers = found;
    if (!READ(call, registers->syscallno) || call != 63) return 0;
    if (!READ(buffer, registers->regs[1]) || !READ(*size, registers->regs[2])) return 0;
    return buffer;
  }
  return 0;
}

/* Whether who opened the iterator is who reads it now. Else a program with more rights could be led to read a file that it
 * was handed, with a request in the buffer that it did not write. */
INLINE int is_opener(struct task_struct *task, struct seq_file *seq) {
  const struct file *file = 0;
  const struct cred *opener = 0, *reader = 0;
  if (!READ(file, seq->file) || !READ(opener, file->f_cred) || !READ(reader, task->cred)) return 0;
  return reader && opener == reader;
}

INLINE struct file *file_of(struct task_struct *task, u32 fd) {
  struct files_struct *files = 0;
  struct fdtable *table = 0;
  struct file **slots = 0, *file = 0;
  u32 length = 0;
  if (!READ(files, task->files) || !READ(table, files->fdt) || !READ(length, table->max_fds)) return 0;
  if (fd >= length || !READ(slots, table->fd) || !READ(file, slots[fd])) return 0;
  return file;
}

/* The socket behind the reader's file descriptor; 0 if it is none. With a stack of its own, as that of the rest is full. */
static inline __attribute__((noinline)) struct sock *socket_of(struct task_struct *task, u32 fd) {
  struct file *file = file_of(task, fd), *back = 0;
  struct inode *inode = 0;
  struct socket *socket = 0;
  struct sock *sk = 0;
  u16 mode = 0;
  if (!file || !READ(inode, file->f_inode) || !READ(mode, inode->i_mode) || (mode & S_IFMT) != S_IFSOCK) return 0;
  /* The name of a Unix socket is no socket, though its inode says so. */
  if (!READ(socket, file->private_data) || !READ(back, socket->file) || back != file || !READ(sk, socket->sk)) return 0;
  /* Closed and used again for another file by now, what was read is worth nothing. */
  return file_of(task, fd) == file ? sk : 0;
}

/* The reader's capabilities over the network namespace of a socket, as the kernel's ns_capable() finds them. */
INLINE u64 capabilities(struct task_struct *task, struct sock_common *skc) {
  const struct cred *cred = 0;
  struct net *net = 0;
  struct user_namespace *space = 0, *own = 0, *parent = 0;
  int level = 0, own_level = 0;
  u32 owner = 0, user = 0;
  u64 effective = 0;
  if (!READ(cred, task->cred) || !READ(own, cred->user_ns) || !READ(own_level, own->level)) return 0;
  if (!READ(user, cred->euid) || !READ(effective, cred->cap_effective)) return 0;
  if (!READ(net, skc->skc_net.net) || !READ(space, net->user_ns)) return 0;
  for (int i = 0; i < MAX_USER_NAMESPACES; i++) {
    if (space == own) return effective;
    if (!READ(level, space->level) || level <= own_level) return 0;
    if (!READ(parent, space->parent) || !READ(owner, space->owner)) return 0;
    if (parent == own && owner == user) return ~0ULL;
    space = parent;
  }
  return 0;
}

#endif
