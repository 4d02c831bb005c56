    // getcontext, setcontext, swapcontext: straight on while no device is open and it is known where to; else to where `ready`
    // says, with the arguments, which it is asked with.
    adrp x16, {active}
    ldr x16, [x16, :lo12:{active}]
    cbnz x16, 2f
    adrp x16, {plain}
    add x16, x16, :lo12:{plain}
    ldr x16, [x16, {at}]
    cbnz x16, 3f
2:
    stp x29, x30, [sp, #-32]!
    stp x0, x1, [sp, #16]
    bl {ready}
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #32
3:
    br x16
