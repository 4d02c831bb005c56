    // dlopen: leaves out the flags that are not let through, and jumps on.
    adrp x16, {flags}
    ldr w16, [x16, :lo12:{flags}]
    and w1, w1, w16
    adrp x16, {real}
    add x16, x16, :lo12:{real}
    ldr x16, [x16, {at}]
    cbnz x16, 2f
    stp x29, x30, [sp, #-32]!
    stp x0, x1, [sp, #16]
    bl {address}
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #32
2:
    br x16
