'use strict'
// A plugin of Haraka that goes wrong at the end of a message for victim@. HOW and CALLS come by the environment.

const fs = require('node:fs')

const BLOCK_OCTETS = 1 << 20

exports.hook_data_post = function (next, connection) {
    const recipients = connection.transaction.rcpt_to.map((recipient) => recipient.address)
    fs.appendFileSync(process.env.CALLS, `${recipients.join(' ')}\n`)
    if (!recipients.some((recipient) => `${recipient}`.includes('victim@'))) return next()

    switch (process.env.HOW) {
        case 'loop':
            for (;;);
        case 'throw':
            throw new Error('this filter fails on purpose')
        case 'throw-later':
            // As from the answer of a resolver or a data base.
            setTimeout(() => {
                throw new Error('this filter fails on purpose')
            }, 10)
            return
        case 'exit':
            process.exit(3)
        case 'hang':
            // Nothing ever calls next.
            return
        case 'memory': {
            const kept = []
            // Filled, so that the memory is real.
            for (;;) kept.push(Buffer.alloc(BLOCK_OCTETS, 1))
        }
    }
}
