    // An exported function: calls another with its own arguments and, after them, its return address.
    mov x{after}, x30
    b {body}
