"""The pedal as a service: units, user, device rules, and what puts them into a system. systemd/install.py; docs/service.md.

Disk images of a whole pedal (`nverb image`): tree.py, partitions.py, image.py.

| file                       | goes to              | what                                                        |
|----------------------------|----------------------|-------------------------------------------------------------|
| nverb.target               | /etc/systemd/system  | the pedal as a whole                                        |
| nverb-jack.service         | "                    | JACK on the sound card                                      |
| nverb-audio.service        | "                    | sound                                                       |
| nverb-control.service      | "                    | knobs, rooms, commands                                      |
| nverb-.service.d/common.conf | "                  | what the three share: user, restarts, sandbox               |
| cpu-governor-nverb.service | "                    | full clock                                                  |
| zram-nverb.service         | "                    | compressed memory, on boards of little                      |
| sysusers.conf              | /etc/sysusers.d      | user and groups                                             |
| tmpfiles.conf              | /etc/tmpfiles.d      | folders                                                     |
| 60-nverb.rules             | /etc/udev/rules.d    | groups of SPI, I2C and GPIO devices                         |
"""
