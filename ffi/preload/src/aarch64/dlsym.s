    // dlsym: asks `decide`, with its return address behind its arguments, and returns the answer or jumps on.
    stp x29, x30, [sp, #-32]!
    stp x0, x1, [sp, #16]
    mov x2, x30
    bl {decide}
    mov x9, x0
    mov x10, x1
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #32
    cbz x10, 2f
    br x10
2:
    mov x0, x9
    ret
