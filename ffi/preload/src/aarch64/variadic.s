    // A function with `named` arguments and variable ones: straight on while no device is open and it is known where to;
    // else calls `body` with the named ones and the address of a va_list (AAPCS64, appendix B).
    .cfi_startproc
    adrp x16, {active}
    ldr x16, [x16, :lo12:{active}]
    cbnz x16, 3f
    adrp x16, {plain}
    add x16, x16, :lo12:{plain}
    ldr x16, [x16, {at}]
    cbz x16, 3f
    br x16
3:
    stp x29, x30, [sp, #-240]!
    .cfi_def_cfa_offset 240
    .cfi_offset 29, -240
    .cfi_offset 30, -232
    mov x29, sp
    stp x0, x1, [sp, #48]
    stp x2, x3, [sp, #64]
    stp x4, x5, [sp, #80]
    stp x6, x7, [sp, #96]
    stp q0, q1, [sp, #112]
    stp q2, q3, [sp, #144]
    stp q4, q5, [sp, #176]
    stp q6, q7, [sp, #208]
    add x9, sp, #240
    str x9, [sp, #16]
    add x10, sp, #112
    str x10, [sp, #24]
    str x9, [sp, #32]
    mov w9, #-8 * (8 - {named})
    str w9, [sp, #40]
    mov w9, #-128
    str w9, [sp, #44]
    add x{named}, sp, #16
    bl {body}
    ldp x29, x30, [sp], #240
    .cfi_restore 29
    .cfi_restore 30
    .cfi_def_cfa_offset 0
    ret
    .cfi_endproc
